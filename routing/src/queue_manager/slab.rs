//! Dense handles: small numbers that index rows, columns and heads. The order of handles decides nothing.

use std::ops::{Index, IndexMut};

/// No handle.
pub(super) const NONE: u32 = u32::MAX;

/// Values by handle; handles of removed values are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Vec<Option<T>>,
    vacant: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            vacant: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(handle) = self.vacant.pop() {
            self.values[handle as usize] = Some(value);
            return handle;
        }
        self.values.push(Some(value));
        (self.values.len() - 1) as u32
    }

    pub(super) fn remove(&mut self, handle: u32) -> Option<T> {
        let value = self.values.get_mut(handle as usize)?.take();
        if value.is_some() {
            self.vacant.push(handle);
        }
        value
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.vacant.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.values
            .iter()
            .enumerate()
            .filter_map(|(handle, value)| Some((handle as u32, value.as_ref()?)))
    }
}

/// Handles are only made by `insert` and dropped with their value, so a missing one is a fault of this module's users.
impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, handle: u32) -> &T {
        self.values[handle as usize]
            .as_ref()
            .expect("a handle outlived its value")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, handle: u32) -> &mut T {
        self.values[handle as usize]
            .as_mut()
            .expect("a handle outlived its value")
    }
}
