//! The rows on disk, over sled.
