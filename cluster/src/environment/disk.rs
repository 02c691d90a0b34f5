//! The real thing: the data folder, links over TCP, the system's clock.
//!
//! ```text
//!   <data>/identity          which cluster, which replicas
//!   <data>/shards/<n>/log    raft-log
//!   <data>/shards/<n>/snapshots
//!   <data>/rows              sled
//!   <data>/rows-lost         why this node must be replaced, if it must
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;

use super::{Blocking, Environment, IdentityFile, Links, SnapshotFiles, Spool};
use crate::config::Config;
use crate::error::StartError;
use crate::state_machine::{ShardId, SnapshotWriter};
use crate::status::ClusterId;
use crate::storage::log::WalLog;
use crate::storage::rows::{ReopenedRows, RowsOpened, SledRows};
use crate::storage::snapshot::{SnapshotMeta, SnapshotStore};
use crate::storage::{LogEngine, LogPosition, RowStore};
use crate::transport::Transport;
use crate::transport::tcp::TcpTransport;

/// Says why the rows cannot be made again, at every start: the damage itself was set aside at the first.
const ROWS_LOST: &str = "rows-lost";
/// Snapshots kept per shard: the newest, and one more in case that one turns out to be damaged.
const SNAPSHOTS_KEPT: usize = 2;

impl Environment {
    /// The environment of a real node.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let data = config.data_dir.clone();
        fs::create_dir_all(&data)?;
        let rows = open_rows(&data)?;
        let (log_data, snapshot_data) = (data.clone(), data.clone());
        let (node, listen, tls) = (config.node, config.listen, config.tls.clone());
        Ok(Self {
            open_log: Arc::new(move |shard| {
                let log = WalLog::open(&shard_folder(&log_data, shard).join("log"))?;
                Ok(Arc::new(log) as Arc<dyn LogEngine>)
            }),
            open_snapshots: Arc::new(move |shard| {
                let folder = shard_folder(&snapshot_data, shard).join("snapshots");
                let store = SnapshotStore::open(&folder, shard)?;
                Ok(Arc::new(FolderSnapshots { store, folder }) as Arc<dyn SnapshotFiles>)
            }),
            rows,
            identity: Arc::new(IdentityOnDisk { folder: data }),
            connect: Box::new(move |handler| {
                let incarnation = rand::rng().random();
                let transport = TcpTransport::start(node, listen, tls.as_ref(), incarnation, handler)
                    .map_err(|error| StartError::Links(error.to_string()))?;
                Ok(Box::new(TcpLinks(transport)) as Box<dyn Links>)
            }),
            wall_clock: Arc::new(wall_ms),
            blocking: Blocking::Threads,
            leader_restore: Some(false),
        })
    }
}

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn shard_folder(data: &Path, shard: ShardId) -> PathBuf {
    data.join("shards").join(shard.to_string())
}

/// Opens the rows. Damaged ones are set aside with the snapshots that stand on them; then the node can only go on when
/// its logs still hold everything, and rows and states are made again from those.
fn open_rows(data: &Path) -> Result<Arc<dyn RowStore>, StartError> {
    let mark = data.join(ROWS_LOST);
    let must_be_replaced = |why: String| StartError::Storage(io::Error::new(io::ErrorKind::InvalidData, why));
    if let Ok(why) = fs::read_to_string(&mark) {
        return Err(must_be_replaced(why));
    }
    let (rows, lost) = match SledRows::open(&data.join("rows")).map_err(io::Error::from)? {
        RowsOpened::Ready(rows) => (rows, None),
        RowsOpened::Refill {
            rows,
            set_aside,
            reason,
        } => {
            tracing::error!(reason, ?set_aside, "the rows are damaged and set aside");
            (rows, Some(reason))
        }
    };
    let shards = match fs::read_dir(data.join("shards")) {
        Ok(shards) => shards.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for folder in shards {
        let Some(shard) = folder
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .map(ShardId)
        else {
            continue;
        };
        let snapshots = SnapshotStore::open(&folder.path().join("snapshots"), shard).map_err(io::Error::from)?;
        let newest = snapshots.latest().map_or(0, |newest| newest.meta.position.index);
        if lost.is_none() && rows.durable_index(shard)? >= newest {
            continue;
        }
        snapshots.set_all_aside()?;
        let log = WalLog::open(&folder.path().join("log")).map_err(io::Error::from)?;
        if log.state()?.purged.is_some() {
            let reason = lost.clone().unwrap_or_else(|| "rows are missing".into());
            let why = format!(
                "shard {shard}: {reason}, and its log no longer holds everything: remove this node from the cluster, \
                 empty its data folder, and add it again under a new node id"
            );
            fs::write(&mark, &why)?;
            return Err(must_be_replaced(why));
        }
    }
    Ok(Arc::new(ReopenedRows::new(data.join("rows"), rows)))
}

struct FolderSnapshots {
    store: SnapshotStore,
    folder: PathBuf,
}

impl SnapshotFiles for FolderSnapshots {
    fn publish(&self, position: LogPosition, digest: u64, write: SnapshotWriter) -> io::Result<()> {
        self.store.publish(
            SnapshotMeta {
                position,
                membership: Bytes::new(),
                digest,
            },
            write,
        )?;
        self.store.prune(SNAPSHOTS_KEPT)
    }

    fn newest(&self) -> io::Result<Option<LogPosition>> {
        Ok(self.store.latest().map(|newest| newest.meta.position))
    }

    fn open(&self, position: LogPosition) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.store.open_reader(position)?))
    }

    fn spool(&self) -> io::Result<Box<dyn Spool>> {
        // Without a name from the start, so that it goes with the last handle, whatever happens.
        let path = self
            .folder
            .join(format!("arriving-{:016x}", rand::rng().random::<u64>()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Box::new(FileSpool(file)))
    }
}

struct FileSpool(File);

impl Write for FileSpool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Spool for FileSpool {
    fn read(&mut self) -> io::Result<Box<dyn Read + '_>> {
        self.0.seek(SeekFrom::Start(0))?;
        Ok(Box::new(io::BufReader::with_capacity(256 << 10, &mut self.0)))
    }
}

struct IdentityOnDisk {
    folder: PathBuf,
}

impl IdentityFile for IdentityOnDisk {
    fn load(&self) -> io::Result<Option<Bytes>> {
        match fs::read(self.folder.join("identity")) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, bytes: &[u8]) -> io::Result<()> {
        let partial = self.folder.join("identity.partial");
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, self.folder.join("identity"))?;
        File::open(&self.folder)?.sync_all()
    }
}

struct TcpLinks(Arc<TcpTransport>);

impl Links for TcpLinks {
    fn transport(&self) -> Arc<dyn Transport> {
        self.0.clone()
    }

    fn joined(&self, cluster: ClusterId) {
        self.0.set_cluster_id(Some(cluster.0.to_be_bytes()));
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.stop().boxed()
    }
}
