//! Wrong clocks.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use chaos_tests::lab::clock::{Clock, Hands, is_possible};

/// Says both clocks whenever it is asked.
const TELL: &str = "
import sys, time
for _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)
";

struct Teller {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl Teller {
    fn start(clock: &mut Clock) -> Result<Self> {
        let mut python = Command::new("python3");
        python.args(["-c", TELL]).stdin(Stdio::piped()).stdout(Stdio::piped());
        clock.dress(&mut python)?;
        let mut child = python.spawn()?;
        let ask = child.stdin.take().context("a pipe")?;
        let answer = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut teller = Self { child, ask, answer };
        teller.tells()?; // so long as it takes to start, it tells nothing
        Ok(teller)
    }

    /// How far its wall clock is off, and its monotonic clock, in seconds.
    fn tells(&mut self) -> Result<(f64, f64)> {
        writeln!(self.ask)?;
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        let (wall, monotonic) = line.trim().split_once(' ').context("two clocks")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        Ok((wall.parse::<f64>()? - now, monotonic.parse::<f64>()? - uptime()))
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.child.kill().expect("it still runs");
        self.child.wait().expect("a child of ours");
    }
}

fn uptime() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn near(told: f64, expected: f64) -> bool {
    (told - expected).abs() < 0.1
}

fn is_there() -> bool {
    is_possible().inspect_err(|why| println!("SKIPPED: {why}")).is_ok()
}

pub fn the_wall_clock_jumps_and_drifts_alone() -> Result<()> {
    if !is_there() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut clock = Clock::make(folder.path(), Hands::Wall)?;
    let mut teller = Teller::start(&mut clock)?;
    let expect = |clock: &Clock, teller: &mut Teller, off: f64| {
        let (wall, monotonic) = teller.tells()?;
        println!("  wall {wall:+.4} s, monotonic {monotonic:+.4} s");
        ensure!(
            near(wall, off) && near(monotonic, 0.0),
            "wall {wall}, monotonic {monotonic}; {off} expected"
        );
        ensure!(near(wall, clock.error_ms() as f64 / 1000.0));
        anyhow::Ok(wall)
    };
    expect(&clock, &mut teller, 0.0)?;
    clock.jump(-30_000)?;
    expect(&clock, &mut teller, -30.0)?;
    clock.jump(60_250)?;
    expect(&clock, &mut teller, 30.25)?;
    clock.heal()?;
    expect(&clock, &mut teller, 0.0)?;
    let begin = Instant::now();
    clock.drift(200_000)?;
    expect(&clock, &mut teller, 0.0)?; // no jump
    std::thread::sleep(Duration::from_secs(2));
    let fast = begin.elapsed().as_secs_f64() * 0.2;
    expect(&clock, &mut teller, fast)?;
    clock.drift(0)?;
    let stays = expect(&clock, &mut teller, fast)?;
    std::thread::sleep(Duration::from_secs(1));
    expect(&clock, &mut teller, stays)?;
    clock.drift(-500_000)?;
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let slow = stays - begin.elapsed().as_secs_f64() * 0.5;
    expect(&clock, &mut teller, slow)?;
    let mut next = Teller::start(&mut clock)?; // a process that is started again goes on where the last one was
    let slow = stays - begin.elapsed().as_secs_f64() * 0.5;
    expect(&clock, &mut next, slow)?;
    Ok(())
}

pub fn all_clocks_drift() -> Result<()> {
    if !is_there() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut clock = Clock::make(folder.path(), Hands::All)?;
    let mut teller = Teller::start(&mut clock)?;
    let (begin, before) = (Instant::now(), teller.tells()?);
    clock.drift(500_000)?;
    std::thread::sleep(Duration::from_secs(1));
    let gained = begin.elapsed().as_secs_f64() * 0.5;
    let after = teller.tells()?;
    let (wall, monotonic) = (after.0 - before.0, after.1 - before.1);
    println!("  gained: wall {wall:+.4} s, monotonic {monotonic:+.4} s");
    ensure!(near(wall, gained) && near(monotonic, gained), "{gained} expected");
    Ok(())
}
