//! A plain hash for ids. The maps that use it are only ever looked into, never walked: their order decides nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from ids to something.
pub(super) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Folds an id by multiplication. Ids are made at the gateway, so nobody outside can choose colliding ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u128(u128::from(byte));
        }
    }

    fn write_u128(&mut self, id: u128) {
        let mixed = (id as u64 ^ self.0) ^ ((id >> 64) as u64).rotate_left(32);
        let product = u128::from(mixed) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}
