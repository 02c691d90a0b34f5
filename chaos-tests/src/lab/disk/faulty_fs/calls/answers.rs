//! From fuser's calls to ours, and back.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::super::faults::Call;
use super::{Found, Layer, Shared};

/// The kernel asks anew each time.
const NOT_KEPT: Duration = Duration::ZERO;
/// Numbers are not used again, so there is one generation.
const GENERATION: Generation = Generation(0);
/// Files are not named by handle: all there is to know goes by the node's number.
const NO_HANDLE: FileHandle = FileHandle(0);

impl Layer {
    /// A sync of a file or folder: at once, or, when it is to be slow, on a thread of its own.
    fn sync(&self, node: INodeNo, is_data_only: bool, reply: ReplyEmpty) {
        let shared = self.0.clone();
        let at = shared.faults.now();
        let (path, verdict) = match shared.judge(Call::Sync, node.0) {
            Ok(judged) => judged,
            Err(error) => return reply.error(error.into()),
        };
        wait_for(verdict.delay, move || {
            answer_empty(shared.sync(node.0, is_data_only, at, path, verdict), reply);
        });
    }
}

/// Runs a call after a delay, without keeping a serving thread.
fn wait_for(delay: Duration, call: impl FnOnce() + Send + 'static) {
    if delay.is_zero() {
        return call();
    }
    thread::spawn(move || {
        thread::sleep(delay);
        call();
    });
}

fn answer_empty(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_entry(found: io::Result<Found>, reply: ReplyEntry) {
    match found {
        Ok(found) => reply.entry(&NOT_KEPT, &attributes(&found), GENERATION),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_attributes(found: io::Result<Found>, reply: ReplyAttr) {
    match found {
        Ok(found) => reply.attr(&NOT_KEPT, &attributes(&found)),
        Err(error) => reply.error(error.into()),
    }
}

fn attributes(found: &Found) -> FileAttr {
    let metadata = &found.metadata;
    let time = |seconds: i64, nanoseconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        UNIX_EPOCH + Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or(0))
    };
    FileAttr {
        ino: INodeNo(found.number),
        size: found.bytes,
        blocks: found.bytes.div_ceil(512),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile),
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Layer {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.0.lookup(parent.0, name), reply);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(self.0.attributes(node.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        bytes: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Owners and times are those of the folder underneath: no node sets them.
        answer_attributes(self.0.change_attributes(node.0, mode, bytes), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        answer_entry(self.0.make_folder(parent.0, name, mode), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.0.remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.0.remove(parent.0, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let may_replace = flags.is_empty();
        answer_empty(
            self.0.rename((parent.0, name), (to_parent.0, to_name), may_replace),
            reply,
        );
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.0.open(node.0) {
            Ok(()) => reply.opened(NO_HANDLE, FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.0.create(parent.0, name, mode) {
            Ok(found) => reply.created(
                &NOT_KEPT,
                &attributes(&found),
                GENERATION,
                NO_HANDLE,
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shared = self.0.clone();
        let verdict = match shared.judge(Call::Read, node.0) {
            Ok((_, verdict)) => verdict,
            Err(error) => return reply.error(error.into()),
        };
        wait_for(verdict.delay, move || {
            match shared.read(node.0, offset, bytes, verdict.error) {
                Ok(found) => reply.data(&found),
                Err(error) => reply.error(error.into()),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(node.0, offset, bytes) {
            // A call brings 16 MiB at most.
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.close(node.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, is_data_only: bool, reply: ReplyEmpty) {
        self.sync(node, is_data_only, reply);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.0.open_folder()), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, node: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match fill(&self.0, node.0, handle.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.listings().open.remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, is_data_only: bool, reply: ReplyEmpty) {
        self.sync(node, is_data_only, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::statvfs(&self.0.underneath) {
            Ok(stat) => reply.statfs(
                stat.f_blocks,
                stat.f_bfree,
                stat.f_bavail,
                stat.f_files,
                stat.f_ffree,
                stat.f_bsize as u32,
                stat.f_namemax as u32,
                stat.f_frsize as u32,
            ),
            Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
        }
    }
}

/// Part of a folder's listing, from `offset` on.
fn fill(shared: &Arc<Shared>, node: u64, handle: u64, offset: u64, reply: &mut ReplyDirectory) -> io::Result<()> {
    if offset == 0 {
        let listing = shared.list(node)?;
        shared.listings().open.insert(handle, listing);
    }
    let dots = [(node, "."), (shared.parent(node), "..")];
    let dots = dots.map(|(number, name)| (number, FileType::Directory, OsStr::new(name)));
    let listings = shared.listings();
    let listing = listings.open.get(&handle).map_or(&[][..], |listing| listing);
    let entries = listing.iter().map(|(number, kind, name)| {
        let kind = FileType::from_std(*kind).unwrap_or(FileType::RegularFile);
        (*number, kind, name.as_os_str())
    });
    let entries = dots.into_iter().chain(entries).zip(1..).skip(offset as usize);
    for ((number, kind, name), next) in entries {
        if reply.add(INodeNo(number), next, kind, name) {
            break;
        }
    }
    Ok(())
}
