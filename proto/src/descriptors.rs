//! The compiled contracts as data: what a test or a dynamic call asks about them.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// The compiled contracts as a serialized `google.protobuf.FileDescriptorSet`, imports included and
/// in dependency order.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build made the set and it is complete")
});

/// [`FILE_DESCRIPTOR_SET`], decoded once a process.
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The paths of all RPCs, as in `/grpc.health.v1.Health/Check`, in the order of the set.
pub fn rpc_paths() -> impl Iterator<Item = String> {
    pool().services().flat_map(|service| {
        service
            .methods()
            .map(|method| format!("/{}/{}", service.full_name(), method.name()))
            .collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::rpc_paths;

    #[test]
    fn rpcs_are_listed_by_path_with_and_without_a_package() {
        let paths: Vec<_> = rpc_paths().collect();
        assert!(paths.contains(&"/grpc.health.v1.Health/Check".to_owned()));
        assert!(paths.contains(&"/SpiffeWorkloadAPI/FetchX509SVID".to_owned()));
    }
}
