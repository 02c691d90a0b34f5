//! Files and folders by the numbers that the kernel knows them by.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::held::HeldFile;

/// The mount itself.
pub(super) const ROOT: u64 = 1;

pub(super) struct Node {
    parent: u64,
    name: OsString,
    /// The inode underneath: tells whether a name is still the same thing.
    inode: u64,
    children: HashMap<OsString, u64>,
    opens: u64,
    file: Option<Arc<HeldFile>>,
    /// Removed; it lives until it is closed.
    is_gone: bool,
}

pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    last: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut tree = Self {
            nodes: HashMap::new(),
            last: ROOT,
        };
        tree.clear();
        tree
    }

    /// Forgets everything but the root. Numbers are not used again.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.nodes.insert(ROOT, Node::new(ROOT, OsStr::new(""), 0));
    }

    /// The path below the mount; of what was removed, the last one.
    pub(super) fn path(&self, number: u64) -> io::Result<PathBuf> {
        let mut names = Vec::new();
        let mut at = number;
        while at != ROOT {
            let node = self.node(at)?;
            names.push(node.name.as_os_str());
            at = node.parent;
        }
        Ok(names.into_iter().rev().collect())
    }

    pub(super) fn child_path(&self, parent: u64, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    /// The number of a name, which is known to be there, with `metadata`.
    pub(super) fn child(&mut self, parent: u64, name: &OsStr, metadata: &Metadata) -> io::Result<u64> {
        let known = self.node(parent)?.children.get(name).copied();
        if let Some(known) = known {
            if self.node(known)?.inode == metadata.ino() {
                return Ok(known);
            }
            self.remove(parent, name);
        }
        self.last += 1;
        let number = self.last;
        self.nodes.insert(number, Node::new(parent, name, metadata.ino()));
        self.node_mut(parent)?.children.insert(name.to_owned(), number);
        Ok(number)
    }

    pub(super) fn parent(&self, number: u64) -> Option<u64> {
        self.nodes.get(&number).map(|node| node.parent)
    }

    /// A name that is gone.
    pub(super) fn remove(&mut self, parent: u64, name: &OsStr) {
        let removed = self.nodes.get_mut(&parent).and_then(|node| node.children.remove(name));
        if let Some(number) = removed {
            if let Some(node) = self.nodes.get_mut(&number) {
                node.is_gone = true;
            }
            self.tidy(number);
        }
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> io::Result<()> {
        let moved = self.node_mut(from.0)?.children.remove(from.1);
        self.remove(to.0, to.1);
        if let Some(number) = moved {
            let node = self.node_mut(number)?;
            node.parent = to.0;
            node.name = to.1.to_owned();
            self.node_mut(to.0)?.children.insert(to.1.to_owned(), number);
        }
        Ok(())
    }

    /// The file of a number, opened by `open` if nobody has it open.
    pub(super) fn file(&mut self, number: u64, open: impl FnOnce() -> io::Result<File>) -> io::Result<Arc<HeldFile>> {
        let node = self.node_mut(number)?;
        if let Some(file) = &node.file {
            return Ok(file.clone());
        }
        let file = Arc::new(HeldFile::new(open()?));
        node.file = Some(file.clone());
        Ok(file)
    }

    /// The file of a number, if it is open or holds something.
    pub(super) fn open_file(&self, number: u64) -> Option<Arc<HeldFile>> {
        self.nodes.get(&number)?.file.clone()
    }

    pub(super) fn opened(&mut self, number: u64) -> io::Result<()> {
        self.node_mut(number)?.opens += 1;
        Ok(())
    }

    pub(super) fn closed(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.tidy(number);
    }

    /// Closes what nobody has open and nothing is held for; forgets what is gone besides.
    pub(super) fn tidy(&mut self, number: u64) {
        let Some(node) = self.nodes.get_mut(&number).filter(|node| node.opens == 0) else {
            return;
        };
        if node.is_gone {
            self.nodes.remove(&number);
        } else if node.file.as_ref().is_some_and(|file| file.is_clean()) {
            node.file = None;
        }
    }

    /// All files that are open or hold something.
    pub(super) fn files(&self) -> Vec<(u64, Arc<HeldFile>)> {
        let files = self.nodes.iter();
        let mut files: Vec<_> = files.filter_map(|(n, node)| Some((*n, node.file.clone()?))).collect();
        files.sort_by_key(|(number, _)| *number);
        files
    }

    fn node(&self, number: u64) -> io::Result<&Node> {
        self.nodes.get(&number).ok_or_else(stale)
    }

    fn node_mut(&mut self, number: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&number).ok_or_else(stale)
    }
}

impl Node {
    fn new(parent: u64, name: &OsStr, inode: u64) -> Self {
        Self {
            parent,
            name: name.to_owned(),
            inode,
            children: HashMap::new(),
            opens: 0,
            file: None,
            is_gone: false,
        }
    }
}

fn stale() -> io::Error {
    rustix::io::Errno::STALE.into()
}

/// The path underneath; `path` is below the mount.
pub(super) fn below(underneath: &Path, path: &Path) -> PathBuf {
    // Joining an empty path would leave a slash at the end.
    if path.as_os_str().is_empty() {
        underneath.to_owned()
    } else {
        underneath.join(path)
    }
}
