//! A search for private keys in the clear, in any file, without knowing a single private key.
//!
//! A private key of P-256 is 32 bytes, and its public key follows from them. So every 32 bytes of a file that could be
//! one are multiplied out, and the point is looked up among the public keys that the files themselves and the
//! servers' certificates show. What a key looks like in a document (PKCS#8, SEC 1, PEM, JWK) is searched for too, and
//! so are secrets that are known as such. Text in base64 or hexadecimal digits is decoded first.

mod decode;
mod documents;
mod points;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

pub use points::PublicPoints;

/// What to look for, and where.
pub struct Scan<'a> {
    /// Public keys whose private keys must not be found.
    pub points: PublicPoints,
    /// Secrets that must not be found, by name.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// Files that may hold them: the seal key's own file.
    pub except: &'a [PathBuf],
    /// How long the multiplications may take in all.
    pub budget: Duration,
}

/// What a scan came to.
#[derive(Debug, Default)]
pub struct Found {
    /// One line per secret found, with the file.
    pub secrets: BTreeSet<String>,
    /// Files read.
    pub files: usize,
    /// Bytes in them.
    pub bytes: usize,
    /// Public keys known.
    pub public_keys: usize,
    /// 32 bytes that could be a key, each once.
    pub candidates: usize,
    /// Those that were multiplied out before the time was over.
    pub tried: usize,
}

/// One file's bytes, as they are and as what they encode.
struct Layer {
    origin: String,
    bytes: Vec<u8>,
}

impl Scan<'_> {
    /// Searches every file below `roots`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn run(mut self, roots: &[PathBuf]) -> anyhow::Result<Found> {
        let mut found = Found::default();
        let mut layers = Vec::new();
        for path in files(roots)? {
            if self.except.contains(&path) {
                continue;
            }
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            found.files += 1;
            found.bytes += bytes.len();
            let name = path.display().to_string();
            for (encoding, decoded) in decode::texts(&bytes) {
                let origin = format!("{name} ({encoding})");
                layers.push(Layer {
                    origin,
                    bytes: decoded,
                });
            }
            layers.push(Layer {
                origin: name,
                bytes,
            });
        }
        for layer in &layers {
            self.points.collect(&layer.bytes);
            self.search(layer, &mut found);
        }
        found.public_keys = self.points.count();
        self.multiply(&layers, &mut found);
        Ok(found)
    }

    fn search(&self, layer: &Layer, found: &mut Found) {
        for document in documents::private_keys(&layer.bytes) {
            found
                .secrets
                .insert(format!("{}: {document}", layer.origin));
        }
        for (name, secret) in &self.secrets {
            if contains(&layer.bytes, secret) {
                found.secrets.insert(format!("{}: {name}", layer.origin));
            }
        }
    }

    fn multiply(&self, layers: &[Layer], found: &mut Found) {
        let mut candidates: BTreeMap<&[u8; 32], &str> = BTreeMap::new();
        for layer in layers {
            for candidate in points::candidates(&layer.bytes) {
                candidates.entry(candidate).or_insert(&layer.origin);
            }
        }
        found.candidates = candidates.len();
        let candidates: Vec<_> = candidates.into_iter().collect();
        let (tried, hits) = self.points.multiply(&candidates, self.budget);
        found.tried = tried;
        for origin in hits {
            let text = format!("{origin}: the private key of a public key that is in use");
            found.secrets.insert(text);
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Every regular file below the roots, each once however many names it has.
fn files(roots: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    let mut open: Vec<_> = roots.to_vec();
    while let Some(path) = open.pop() {
        let metadata = read(&path, fs::symlink_metadata)?;
        if metadata.is_dir() {
            for entry in read(&path, fs::read_dir::<&Path>)? {
                open.push(entry?.path());
            }
        } else if metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())) {
            all.push(path);
        }
    }
    Ok(all)
}

fn read<'a, T>(path: &'a Path, how: impl Fn(&'a Path) -> std::io::Result<T>) -> anyhow::Result<T> {
    how(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests;
