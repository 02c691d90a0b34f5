//! Opens the rows, or sets them aside when they are damaged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex, RwLock};

use super::super::durable_file::{FailStop, create_folder, forget_cached, sync_folder};
use super::super::{StorageError, measures, rows_codec};
use super::{Queue, RowsOpened, Shared, SledRows, SyncState, run_sled, writer};
use crate::limits;
use crate::state_machine::ShardId;

/// sled's own folder.
const SLED_FOLDER: &str = "sled";
/// sled's own file in it.
const SLED_FILE: &str = "db";
/// Says that there has been a store, so that one that vanished is not taken for a new one.
const CREATED_MARK: &str = "rows-created";
const LOCK_FILE: &str = "lock";
/// A closed sled may hold its file for so long.
const SLED_LETS_GO: Duration = Duration::from_secs(5);

impl SledRows {
    /// Opens the rows of this node, which live in `folder`; makes a new store when there has never been one.
    pub fn open(folder: &Path) -> Result<RowsOpened, StorageError> {
        let failed = |source| StorageError::Io {
            folder: folder.to_owned(),
            source,
        };
        create_folder(folder).map_err(failed)?;
        let lock = lock(folder)?;
        let path = folder.join(SLED_FOLDER);
        let mark = folder.join(CREATED_MARK);
        if !mark.exists() {
            if path.exists() {
                // Its creation was interrupted; nothing in it was ever promised.
                fs::remove_dir_all(&path).map_err(failed)?;
            }
            let rows = Self::create(&path, lock).map_err(failed)?;
            fs::write(&mark, b"")
                .and_then(|()| sync_folder(folder))
                .map_err(failed)?;
            return Ok(RowsOpened::Ready(rows));
        }
        let error = match open_existing(&path) {
            Ok((db, applied)) => {
                return Self::start(&path, db, applied, lock)
                    .map(RowsOpened::Ready)
                    .map_err(failed);
            }
            Err(error) if is_damage(&error) => error,
            Err(error) => return Err(failed(error)),
        };
        measures::corruption("rows");
        let set_aside = set_aside(&path).map_err(failed)?;
        tracing::error!(folder = %folder.display(), %error, "the rows are damaged; they are set aside, to be refilled");
        let rows = Self::create(&path, lock).map_err(failed)?;
        Ok(RowsOpened::Refill {
            rows,
            set_aside,
            reason: error.to_string(),
        })
    }

    fn create(path: &Path, lock: File) -> io::Result<Self> {
        create_folder(path)?;
        let db = open_sled(path)?;
        run_sled(|| db.insert(rows_codec::SCHEMA_KEY, &rows_codec::SCHEMA.to_be_bytes()))?;
        let rows = Self::start(path, db, BTreeMap::new(), lock)?;
        sync_folder(path)?;
        Ok(rows)
    }

    /// What was read back counts from now on: it is made durable, wherever an earlier process left it.
    fn start(path: &Path, db: sled::Db, applied: BTreeMap<ShardId, u64>, lock: File) -> io::Result<Self> {
        let file = File::open(path.join(SLED_FILE))?;
        let queue = Queue {
            applied_queued: applied.clone(),
            applied_written: applied,
            ..Queue::default()
        };
        let shared = Arc::new(Shared {
            db,
            file,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            hurry: Condvar::new(),
            written: Condvar::new(),
            overlay: RwLock::default(),
            sync: Mutex::new(SyncState::default()),
            synced: Condvar::new(),
            durable: RwLock::default(),
            fail_stop: FailStop::default(),
        });
        shared.sync()?;
        let for_writer = shared.clone();
        let writer = thread::Builder::new()
            .name("rows-writer".to_owned())
            .spawn(move || writer::run(&for_writer))?;
        Ok(Self {
            shared,
            writer: Some(writer),
            _lock: lock,
        })
    }
}

/// sled's error about its lock cannot be told from others, so we have a lock of our own.
fn lock(folder: &Path) -> Result<File, StorageError> {
    let failed = |source| StorageError::Io {
        folder: folder.to_owned(),
        source,
    };
    let path = folder.join(LOCK_FILE);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::InUse {
            folder: folder.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

fn open_sled(path: &Path) -> io::Result<sled::Db> {
    let config = sled::Config::new()
        .path(path)
        // Above a quarter of a segment sled would put a page into a blob, which nobody syncs.
        .segment_size(16 << 20)
        // Durability is the barrier's; sled's own flushes would only disturb it.
        .flush_every_ms(None)
        .cache_capacity(limits::ROWS_CACHE_BYTES);
    // Our own lock is ours by now, so whoever still has sled's is a store that was closed: sled lets go in the background.
    let until = Instant::now() + SLED_LETS_GO;
    loop {
        match run_sled(|| config.open()) {
            Err(error) if error.to_string().contains("could not acquire lock") && Instant::now() < until => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

/// Opens sled and checks what must be there.
fn open_existing(path: &Path) -> io::Result<(sled::Db, BTreeMap<ShardId, u64>)> {
    let file_bytes = fs::metadata(path.join(SLED_FILE)).map(|metadata| metadata.len());
    match file_bytes {
        Ok(bytes) if bytes > 0 => {}
        Ok(_) => return Err(rows_codec::damaged("sled's file is empty")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(rows_codec::damaged("sled's file is gone"));
        }
        Err(error) => return Err(error),
    }
    forget_cached(&path.join(SLED_FILE))?;
    let db = open_sled(path)?;
    let schema = run_sled(|| db.get(rows_codec::SCHEMA_KEY))?;
    let schema = schema.ok_or_else(|| rows_codec::damaged("the schema's row is gone"))?;
    if *schema != rows_codec::SCHEMA.to_be_bytes() {
        // Not damage: an older version of the program must not set a newer store aside.
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("rows of schema {schema:?}"),
        ));
    }
    let applied = read_applied(&db)?;
    Ok((db, applied))
}

/// The applied index of every shard that has one.
fn read_applied(db: &sled::Db) -> io::Result<BTreeMap<ShardId, u64>> {
    let mut applied = BTreeMap::new();
    let mut from = vec![0; 4];
    while let Some((key, stored)) = run_sled(|| db.range(from.clone()..).next().transpose())? {
        if let Some(shard) = key.first_chunk::<4>() {
            let shard = ShardId(u32::from_be_bytes(*shard));
            if key.len() == 4 {
                applied.insert(shard, rows_codec::read_number(&stored)?);
            }
            let Some(next) = rows_codec::shard_end(shard) else {
                break;
            };
            from = next.to_vec();
        } else {
            from = [&*key, &[0]].concat();
        }
    }
    Ok(applied)
}

/// Damage is told from a system that refuses. What sled cannot read comes as damage, or as the end of a file.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = path.with_extension(format!("damaged-{}", since_epoch.as_millis()));
    fs::rename(path, &aside)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    Ok(Some(aside))
}
