//! Places for those who have not shown who they are: so many in all, and fewer for one address, so
//! that nobody alone keeps members out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The places. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    in_all: usize,
    for_one: usize,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// So many places in all, and at most so many for one address.
    pub(super) fn new(in_all: usize, for_one: usize) -> Self {
        Self {
            taken: Arc::default(),
            in_all,
            for_one,
        }
    }

    /// A place for somebody at `address`, if there is one.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.taken.lock();
        let held = taken.get(&address).copied().unwrap_or(0);
        if held >= self.for_one || taken.values().sum::<usize>() >= self.in_all {
            return None;
        }
        taken.insert(address, held + 1);
        Some(Place {
            places: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        match taken.get_mut(&self.address) {
            Some(held) if *held > 1 => *held -= 1,
            Some(_) | None => {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Places::new(3, 2);
        let [a, b] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let held: Vec<_> = (0..4).filter_map(|_| places.take(a)).collect();
        assert_eq!(held.len(), 2);
        let other = places.take(b);
        assert!(other.is_some());
        assert!(places.take(b).is_none(), "all places are taken");
        drop(held);
        assert!(places.take(b).is_some());
        drop(other);
        assert_eq!(places.taken.lock().len(), 0);
    }
}
