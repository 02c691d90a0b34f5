//! The content of one file: what is underneath, and over it what was written and not synced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PAGE: usize = 4096;
/// Pages written underneath at once.
const RUN_MAX_BYTES: usize = 1 << 20;

/// What of the unsynced bytes a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Nothing: the worst for whoever did not sync.
    None,
    /// Each page or not, by the seed, as if the kernel had been writing back when the power failed: torn writes, holes.
    Some {
        /// Names the choice.
        seed: u64,
    },
}

/// A file, open underneath.
pub(super) struct HeldFile {
    file: File,
    held: Mutex<Option<Held>>,
}

/// What a sync would write.
struct Held {
    bytes: u64,
    /// Up to here the bytes underneath still count; beyond, they were cut off.
    counts: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl HeldFile {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            held: Mutex::default(),
        }
    }

    /// The file underneath.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn is_clean(&self) -> bool {
        self.lock().is_none()
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        match &*self.lock() {
            Some(held) => Ok(held.bytes),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let held = self.lock();
        held.as_ref().map_or(0, |held| (held.pages.len() * PAGE) as u64)
    }

    pub(super) fn read(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let held = self.lock();
        let mut found = vec![0; bytes];
        let Some(held) = &*held else {
            let count = read_up_to(&self.file, &mut found, offset)?;
            found.truncate(count);
            return Ok(found);
        };
        found.truncate(usize::try_from(held.bytes.saturating_sub(offset)).map_or(bytes, |left| left.min(bytes)));
        held.read_underneath(&self.file, &mut found, offset)?;
        let end = offset + found.len() as u64;
        for (number, page) in held.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let start = number * PAGE as u64;
            let (from, to) = (start.max(offset), (start + PAGE as u64).min(end));
            let target = &mut found[(from - offset) as usize..(to - offset) as usize];
            target.copy_from_slice(&page[(from - start) as usize..(to - start) as usize]);
        }
        Ok(found)
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8], holds: bool, is_on: impl Fn() -> bool) -> io::Result<()> {
        let mut held = self.lock();
        if !is_on() {
            return Err(rustix::io::Errno::IO.into());
        }
        if !holds {
            return self.file.write_all_at(bytes, offset);
        }
        let held = Held::begin(&mut held, &self.file)?;
        let end = offset + bytes.len() as u64;
        let mut at = offset;
        while at < end {
            let number = at / PAGE as u64;
            let start = number * PAGE as u64;
            let until = (start + PAGE as u64).min(end);
            let page = held.page(&self.file, number)?;
            page[(at - start) as usize..(until - start) as usize]
                .copy_from_slice(&bytes[(at - offset) as usize..(until - offset) as usize]);
            at = until;
        }
        held.bytes = held.bytes.max(end);
        Ok(())
    }

    pub(super) fn set_len(&self, bytes: u64, holds: bool, is_on: impl Fn() -> bool) -> io::Result<()> {
        let mut held = self.lock();
        if !is_on() {
            return Err(rustix::io::Errno::IO.into());
        }
        if !holds {
            return self.file.set_len(bytes);
        }
        let held = Held::begin(&mut held, &self.file)?;
        held.bytes = bytes;
        held.counts = held.counts.min(bytes);
        held.pages.split_off(&bytes.div_ceil(PAGE as u64));
        // What is cut off inside a page must not come back when the file grows again.
        if let Some(page) = held.pages.get_mut(&(bytes / PAGE as u64)) {
            page[(bytes % PAGE as u64) as usize..].fill(0);
        }
        Ok(())
    }

    /// Writes what is held underneath; how many bytes that were.
    pub(super) fn settle(&self, is_on: impl Fn() -> bool) -> io::Result<u64> {
        let mut held = self.lock();
        if !is_on() {
            return Err(rustix::io::Errno::IO.into());
        }
        let Some(held) = held.take() else {
            return Ok(0);
        };
        held.write_underneath(&self.file)
    }

    /// A sync that failed: the pages count as written, and were not.
    pub(super) fn lose_pages(&self) {
        if let Some(held) = &mut *self.lock() {
            held.pages.clear();
        }
    }

    /// A power cut.
    pub(super) fn lose(&self, survivors: Survivors, salt: u64) -> io::Result<()> {
        let Some(mut held) = self.lock().take() else {
            return Ok(());
        };
        let Survivors::Some { seed } = survivors else {
            return Ok(());
        };
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ salt.rotate_left(32));
        held.pages.retain(|_, _| dice.random_bool(0.5));
        // A file grows when its last pages arrive, and is cut short in a change of its own.
        let last = held.pages.keys().next_back().map_or(0, |last| (last + 1) * PAGE as u64);
        let before = self.file.metadata()?.len();
        let grown = last.min(held.bytes);
        if dice.random_bool(0.5) {
            held.counts = before;
        }
        held.bytes = held.counts.max(grown);
        held.write_underneath(&self.file).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn begin<'a>(held: &'a mut Option<Self>, file: &File) -> io::Result<&'a mut Self> {
        if held.is_none() {
            let bytes = file.metadata()?.len();
            *held = Some(Self {
                bytes,
                counts: bytes,
                pages: BTreeMap::new(),
            });
        }
        held.as_mut().ok_or_else(|| io::Error::other("nothing is held"))
    }

    fn page(&mut self, file: &File, number: u64) -> io::Result<&mut Box<[u8; PAGE]>> {
        if !self.pages.contains_key(&number) {
            let mut page = Box::new([0; PAGE]);
            self.read_underneath(file, &mut page[..], number * PAGE as u64)?;
            self.pages.insert(number, page);
        }
        self.pages
            .get_mut(&number)
            .ok_or_else(|| io::Error::other("the page is gone"))
    }

    /// Fills `to` with what still counts underneath; the rest of it stays as it is.
    fn read_underneath(&self, file: &File, to: &mut [u8], offset: u64) -> io::Result<()> {
        let counts = usize::try_from(self.counts.saturating_sub(offset)).unwrap_or(usize::MAX);
        let counts = counts.min(to.len());
        read_up_to(file, &mut to[..counts], offset).map(drop)
    }

    fn write_underneath(&self, file: &File) -> io::Result<u64> {
        if self.counts < file.metadata()?.len() {
            file.set_len(self.counts)?;
        }
        let (mut run, mut start, mut count) = (Vec::new(), 0, 0);
        for (number, page) in &self.pages {
            let at = number * PAGE as u64;
            if run.len() >= RUN_MAX_BYTES || start + run.len() as u64 != at {
                file.write_all_at(&run, start)?;
                run.clear();
                start = at;
            }
            let until = self.bytes.saturating_sub(at).min(PAGE as u64) as usize;
            run.extend_from_slice(&page[..until]);
            count += until as u64;
        }
        file.write_all_at(&run, start)?;
        if file.metadata()?.len() != self.bytes {
            file.set_len(self.bytes)?;
        }
        Ok(count)
    }
}

fn read_up_to(file: &File, to: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < to.len() {
        match file.read_at(&mut to[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> HeldFile {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        HeldFile::new(file)
    }

    fn underneath(file: &HeldFile) -> Vec<u8> {
        let mut content = vec![0; file.file.metadata().unwrap().len() as usize];
        read_up_to(&file.file, &mut content, 0).unwrap();
        content
    }

    /// The same calls on a held file and on a plain vector, with syncs and losses in between.
    #[test]
    fn it_reads_as_a_plain_file_does() {
        for seed in 0..200 {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let (held, mut model, mut synced) = (file(b""), Vec::<u8>::new(), Vec::new());
            for _ in 0..60 {
                match dice.random_range(0..8u64) {
                    0..4 => {
                        let at = dice.random_range(0..20_000u64) as usize;
                        let bytes = vec![dice.random(); dice.random_range(0..9_000u64) as usize + 1];
                        held.write(at as u64, &bytes, true, || true).unwrap();
                        model.resize(model.len().max(at + bytes.len()), 0);
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    4..6 => {
                        let bytes = dice.random_range(0..30_000u64);
                        held.set_len(bytes, true, || true).unwrap();
                        model.resize(bytes as usize, 0);
                    }
                    6 => {
                        held.settle(|| true).unwrap();
                        synced.clone_from(&model);
                        assert!(underneath(&held) == synced, "seed {seed}");
                    }
                    _ => {
                        held.lose(Survivors::None, 0).unwrap();
                        model.clone_from(&synced);
                    }
                }
                assert_eq!(held.len().unwrap(), model.len() as u64, "seed {seed}");
                let (at, most) = (
                    dice.random_range(0..30_000u64) as usize,
                    dice.random_range(0..10_000u64) as usize,
                );
                let expected = &model[at.min(model.len())..(at + most).min(model.len())];
                assert!(held.read(at as u64, most).unwrap() == expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_failed_sync_leaves_the_length_and_not_the_bytes() {
        let held = file(b"old");
        held.write(0, b"new and longer", true, || true).unwrap();
        held.lose_pages();
        assert_eq!(held.read(0, 100).unwrap(), b"old\0\0\0\0\0\0\0\0\0\0\0");
        held.settle(|| true).unwrap();
        assert_eq!(underneath(&held), b"old\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn some_pages_survive_a_cut_and_some_do_not() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..20 {
            let held = file(&[1; 8 * PAGE]);
            held.write(0, &[2; 16 * PAGE], true, || true).unwrap();
            held.lose(Survivors::Some { seed }, 0).unwrap();
            let content = underneath(&held);
            assert!(content.len() >= 8 * PAGE && content.len().is_multiple_of(PAGE));
            for page in content.chunks(PAGE) {
                assert!(page.iter().all(|byte| *byte == page[0]), "a page is one or the other");
                kept += u64::from(page[0] == 2);
                lost += u64::from(page[0] != 2);
            }
        }
        assert!(kept > 80 && lost > 80, "{kept} kept, {lost} lost");
    }
}
