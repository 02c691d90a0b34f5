//! The state as bytes: a header, then one frame per row, then a hash of all before it.
//!
//! Reading trusts nothing: lengths are bounded before they are believed, and whatever does not decode, or does not end in
//! the right hash, is an error.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bincode::Options;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::report::{Report, Resolutions};
use super::rows::Rows;
use super::tenant::Kept;
use crate::ids::{Millis, QueueId, TenantId};

/// Version of the state's encoding.
pub const STATE_SCHEMA: u16 = 2;
const MAGIC: [u8; 6] = *b"kaiwaS";
/// A row's encoded bytes, at most: the largest is a tenant's list of rules.
const FRAME_MAX_BYTES: u32 = 64 << 20;

/// A state at one moment, to be written beside the running one.
#[derive(Clone, Debug)]
pub struct Captured {
    pub(crate) tenants: Vec<(TenantId, Kept)>,
    pub(crate) index: u64,
    pub(crate) at_ms: Millis,
    pub(crate) digest: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    index: u64,
    at_ms: Millis,
    digest: u64,
    tenants: u64,
}

#[derive(Serialize, Deserialize)]
struct TenantHeader {
    id: TenantId,
    name: Arc<str>,
    arrivals: u64,
    forget_at_ms: Option<Millis>,
    conversations: u64,
    agents: u64,
    streams: u64,
    windows: u64,
    queues: u64,
    report: ReportHeader,
}

#[derive(Serialize, Deserialize)]
struct ReportHeader {
    due_ms: Option<Millis>,
    waited_ms: BTreeMap<QueueId, u64>,
    rows: u64,
    meters: u64,
    resolutions: u64,
}

impl Captured {
    /// Writes it whole.
    ///
    /// # Errors
    /// Whatever `to` fails with.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut out = Out {
            to,
            hash: Xxh3::new(),
            frame: Vec::new(),
        };
        out.bytes(&MAGIC)?;
        out.bytes(&STATE_SCHEMA.to_le_bytes())?;
        let tenants = self.tenants.len() as u64;
        out.frame(&Header {
            index: self.index,
            at_ms: self.at_ms,
            digest: self.digest,
            tenants,
        })?;
        for (id, kept) in &self.tenants {
            out.frame(&TenantHeader {
                id: *id,
                name: kept.name.clone(),
                arrivals: kept.arrivals,
                forget_at_ms: kept.forget_at_ms,
                conversations: kept.conversations.len() as u64,
                agents: kept.agents.len() as u64,
                streams: kept.streams.len() as u64,
                windows: kept.windows.len() as u64,
                queues: kept.queues.len() as u64,
                report: ReportHeader {
                    due_ms: kept.report.due_ms,
                    waited_ms: kept.report.waited_ms.clone(),
                    rows: kept.report.rows.len() as u64,
                    meters: kept.report.meters.len() as u64,
                    resolutions: kept.report.resolutions.rows().len() as u64,
                },
            })?;
            out.frame(&kept.skills)?;
            out.frame(&kept.rules)?;
            out.frame(&kept.routing)?;
            out.frame(&kept.calendars)?;
            out.frame(&kept.policies)?;
            for row in &kept.queues {
                out.frame(&row)?;
            }
            out.rows(&kept.agents)?;
            out.rows(&kept.streams)?;
            out.rows(&kept.windows)?;
            out.rows(&kept.conversations)?;
            out.rows(&kept.report.rows)?;
            out.rows(&kept.report.meters)?;
            out.rows(kept.report.resolutions.rows())?;
        }
        let hash = out.hash.digest();
        out.to.write_all(&hash.to_le_bytes())
    }
}

pub(crate) fn read(from: &mut dyn Read) -> io::Result<Captured> {
    let mut source = In {
        from,
        hash: Xxh3::new(),
    };
    if source.bytes::<6>()? != MAGIC {
        return Err(garbage("not a state"));
    }
    let schema = u16::from_le_bytes(source.bytes()?);
    if schema != STATE_SCHEMA {
        return Err(garbage(&format!(
            "state of schema {schema}; this program reads {STATE_SCHEMA}"
        )));
    }
    let header: Header = source.frame()?;
    let mut tenants = Vec::new();
    let mut last = None;
    for _ in 0..header.tenants {
        let (id, kept) = source.tenant()?;
        if last.is_some_and(|last| last >= id) {
            return Err(garbage("tenants out of order"));
        }
        last = Some(id);
        tenants.push((id, kept));
    }
    let counted = source.hash.digest();
    let mut written = [0; 8];
    source.from.read_exact(&mut written)?;
    if u64::from_le_bytes(written) != counted {
        return Err(garbage("the hash does not match"));
    }
    Ok(Captured {
        tenants,
        index: header.index,
        at_ms: header.at_ms,
        digest: header.digest,
    })
}

fn garbage(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

struct Out<'a> {
    to: &'a mut dyn Write,
    hash: Xxh3,
    frame: Vec<u8>,
}

impl Out<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }

    fn frame<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        bincode::options()
            .serialize_into(&mut frame, value)
            .map_err(io::Error::other)?;
        let length = u32::try_from(frame.len())
            .ok()
            .filter(|length| *length <= FRAME_MAX_BYTES);
        let length = length.ok_or_else(|| garbage("a row is too large"))?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(&frame)?;
        self.frame = frame;
        Ok(())
    }

    fn rows<K: Ord + Clone + Serialize, V: Serialize>(&mut self, rows: &Rows<K, V>) -> io::Result<()> {
        rows.iter().try_for_each(|row| self.frame(&row))
    }
}

struct In<'a> {
    from: &'a mut dyn Read,
    hash: Xxh3,
}

impl In<'_> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn frame<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let length = u32::from_le_bytes(self.bytes()?);
        if length > FRAME_MAX_BYTES {
            return Err(garbage("a row is too large"));
        }
        // Grows with what comes, so that a wrong length does not take memory for bytes that are not there.
        let mut frame = Vec::new();
        self.from.take(u64::from(length)).read_to_end(&mut frame)?;
        if frame.len() != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hash.update(&frame);
        let decoder = bincode::options().with_limit(u64::from(FRAME_MAX_BYTES));
        decoder
            .deserialize(&frame)
            .map_err(|error| garbage(&format!("a row does not decode: {error}")))
    }

    fn rows<K, V>(&mut self, count: u64) -> io::Result<Rows<K, V>>
    where
        K: Ord + Clone + DeserializeOwned,
        V: DeserializeOwned,
    {
        let mut rows = Rows::default();
        for _ in 0..count {
            let (key, row): (K, V) = self.frame()?;
            if rows.put(key, Arc::new(row)).is_some() {
                return Err(garbage("a row comes twice"));
            }
        }
        Ok(rows)
    }

    fn tenant(&mut self) -> io::Result<(TenantId, Kept)> {
        let header: TenantHeader = self.frame()?;
        let (skills, rules) = (self.frame()?, self.frame()?);
        let (routing, calendars, policies) = (self.frame()?, self.frame()?, self.frame()?);
        let mut queues = BTreeMap::new();
        for _ in 0..header.queues {
            let (id, row) = self.frame()?;
            queues.insert(id, row);
        }
        let kept = Kept {
            name: header.name,
            arrivals: header.arrivals,
            forget_at_ms: header.forget_at_ms,
            skills,
            rules,
            routing,
            calendars,
            policies,
            queues,
            agents: self.rows(header.agents)?,
            streams: self.rows(header.streams)?,
            windows: self.rows(header.windows)?,
            conversations: self.rows(header.conversations)?,
            report: Report {
                due_ms: header.report.due_ms,
                waited_ms: header.report.waited_ms,
                rows: self.rows(header.report.rows)?,
                meters: self.rows(header.report.meters)?,
                resolutions: Resolutions::of(self.rows(header.report.resolutions)?),
            },
        };
        Ok((header.id, kept))
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
