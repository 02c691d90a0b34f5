//! One time for all: how a generator's clock stands to the coordinator's, found as NTP does (Mills 1991), from exchanges of which the
//! quickest tells most.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::{self, ClockFound, Frames, FromGenerator, GREETING_WITHIN, ToGenerator};

const EXCHANGES: usize = 24;
const PAUSE: Duration = Duration::from_millis(4);

/// A clock that begins with the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn new() -> Self {
        Self(Instant::now())
    }

    pub fn now_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    pub fn at_us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.0).as_micros() as u64
    }

    /// The moment that the other clock calls `at_us`.
    pub fn moment(&self, at_us: u64, found: ClockFound) -> Instant {
        let own_us = at_us as i64 - found.offset_us;
        match u64::try_from(own_us) {
            Ok(us) => self.0 + Duration::from_micros(us),
            Err(_) => self
                .0
                .checked_sub(Duration::from_micros(own_us.unsigned_abs()))
                .unwrap_or(self.0),
        }
    }
}

/// One exchange: sent and received here, received and sent there.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub sent_us: u64,
    pub there_us: u64,
    pub back_us: u64,
    pub received_us: u64,
}

/// What the quickest of them says.
pub fn found(exchanges: &[Exchange]) -> Option<ClockFound> {
    let of = |e: &Exchange| {
        let (there, back) = (
            e.there_us as i64 - e.sent_us as i64,
            e.back_us as i64 - e.received_us as i64,
        );
        ClockFound {
            offset_us: (there + back) / 2,
            round_trip_us: (e.received_us - e.sent_us).saturating_sub(e.back_us.saturating_sub(e.there_us)),
        }
    };
    exchanges.iter().map(of).min_by_key(|found| found.round_trip_us)
}

/// Finds it. What else arrives meanwhile is passed over: nothing but signs of life is due.
pub async fn compare(
    clock: &Clock,
    from: &mut Frames<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<ClockFound> {
    let mut exchanges = Vec::new();
    for _ in 0..EXCHANGES {
        let sent_us = clock.now_us();
        let exchange = async {
            wire::write(to, &FromGenerator::Ping).await?;
            loop {
                match from.next().await? {
                    Some(ToGenerator::Pong { received_us, sent_us }) => {
                        return Ok::<_, anyhow::Error>((received_us, sent_us));
                    }
                    Some(_) => {}
                    None => bail!("the coordinator has closed the connection"),
                }
            }
        };
        let (there_us, back_us) = tokio::time::timeout(GREETING_WITHIN, exchange)
            .await
            .context("the coordinator did not tell the time")??;
        exchanges.push(Exchange {
            sent_us,
            there_us,
            back_us,
            received_us: clock.now_us(),
        });
        tokio::time::sleep(PAUSE).await;
    }
    found(&exchanges).context("no exchange of times")
}
