//! What the router does to packets.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_tests::lab::net::{Disturbance, Host, Net, Router, Tally};
use rustix::process::getpid;

use crate::talk::{CLIENTS, N1, N2, N3, Server, Talk, socket};

pub fn a_stream_survives_loss_and_delay() -> Result<()> {
    let net = Net::make(3)?;
    let router = Router::start(&net, 1)?;
    let server = Server::start(&net, N2)?;
    for from in [N1, CLIENTS] {
        let mut talk = Talk::begin(&net, from, &server)?; // over the bridge; it stands when the disturbance begins
        talk.asks("before")?;
        let how = Disturbance {
            loss_permille: 100,
            delay_ms: 30,
            jitter_ms: 20,
            ..Disturbance::default()
        };
        router.disturb_between(from, N2, &how)?;
        let begin = Instant::now();
        talk.asks("a question")?;
        ensure!(
            begin.elapsed() >= Duration::from_millis(20),
            "10 ms there and back at least: {:?}",
            begin.elapsed()
        );
        let (took, bytes) = (stream(&mut talk, 1 << 20)?, 1 << 20);
        let (there, back) = (router.tally(from, N2), router.tally(N2, from));
        println!("  {from}: {bytes} bytes in {took:?}; {there:?}; {back:?}");
        ensure!(share(there.lost, there.came) > 0.06 && share(there.lost, there.came) < 0.15);
        ensure!(back.lost > 0 && there.delayed == there.came - there.lost && there.reordered == 0);
        router.heal_all()?;
        ensure!(router.disturbed().is_empty());
        let took = stream(&mut talk, 1 << 20)?;
        ensure!(took < Duration::from_secs(5), "{took:?} after it was healed");
        talk.asks("after")?;
        let begin = Instant::now();
        talk.asks("at once")?;
        ensure!(begin.elapsed() < Duration::from_millis(20), "{:?}", begin.elapsed());
    }
    ensure!(router.missed(N1)? + router.missed(CLIENTS)? == 0);
    Ok(())
}

/// Sends so many bytes and compares their digests, as the server sees them and as they were sent.
fn stream(talk: &mut Talk, bytes: usize) -> Result<Duration> {
    let begin = Instant::now();
    let data: Vec<u8> = (0..bytes as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    talk.say(&format!("sum {bytes}"))?;
    talk.0.write_all(&data)?;
    let mut digest = String::new();
    talk.0.set_read_timeout(Some(Duration::from_secs(60)))?;
    BufReader::new(&talk.0).read_line(&mut digest)?;
    let took = begin.elapsed();
    let mut sum = std::process::Command::new("sha256sum");
    let mut sum = sum
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    sum.stdin.take().context("a pipe")?.write_all(&data)?;
    let expected = String::from_utf8(sum.wait_with_output()?.stdout)?;
    ensure!(
        expected.starts_with(digest.trim_end()) && digest.len() == 65,
        "{digest} is not {expected}"
    );
    Ok(took)
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Sends numbered datagrams, one each half millisecond, and returns the numbers as they came.
fn datagrams(net: &Net, from: Host, to: Host, many: u32) -> Result<Vec<u32>> {
    let (mouth, ear) = (socket(net, from)?, socket(net, to)?);
    ear.set_read_timeout(Some(Duration::from_millis(500)))?;
    mouth.connect(ear.local_addr()?)?;
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let mut number = [0; 4];
            std::iter::from_fn(|| ear.recv(&mut number).ok().map(|_| u32::from_be_bytes(number))).collect()
        });
        for n in 0..many {
            mouth.send(&n.to_be_bytes())?;
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(heard.join().expect("no panic"))
    })
}

pub fn datagrams_come_twice_and_out_of_order() -> Result<()> {
    let net = Net::make(3)?;
    let router = Router::start(&net, 2)?;
    let how = Disturbance {
        duplicate_permille: 100,
        reorder_permille: 50,
        reorder_ms: 5,
        ..Disturbance::default()
    };
    router.disturb(N1, N2, &how)?;
    let heard = datagrams(&net, N1, N2, 2000)?;
    let different: BTreeSet<_> = heard.iter().collect();
    let twice = heard.len() - different.len();
    let highest = heard.iter().scan(0, |max, n| {
        *max = *n.max(max);
        Some(*max)
    });
    let late = heard.iter().zip(highest).filter(|(n, max)| *n < max).count();
    let tally = router.tally(N1, N2);
    println!("  of 2000, {twice} came twice, {late} late; {tally:?}");
    ensure!(different.len() == 2000, "none is lost: {}", different.len());
    ensure!((140..260).contains(&twice) && twice as u64 == tally.duplicated);
    ensure!((60..160).contains(&late) && late as u64 == tally.reordered);
    ensure!(router.tally(N2, N1) == Tally::default(), "one way");
    let around = datagrams(&net, N1, N3, 100)?;
    ensure!(around == (0..100).collect::<Vec<_>>(), "others are left alone");
    net.cut(N1, N2)?;
    ensure!(
        datagrams(&net, N1, N2, 20)?.is_empty(),
        "a cut line is cut on the detour too"
    );
    ensure!(net.met()?.cut[&(N1, N2)] >= 20);
    Ok(())
}

pub fn a_fixed_delay_is_kept() -> Result<()> {
    let net = Net::make(2)?;
    let router = Router::start(&net, 7)?;
    let server = Server::start(&net, N2)?;
    let mut talk = Talk::begin(&net, N1, &server)?;
    router.disturb_between(
        N1,
        N2,
        &Disturbance {
            delay_ms: 30,
            ..Disturbance::default()
        },
    )?;
    let mut all = Vec::new();
    for n in 0..20 {
        let begin = Instant::now();
        talk.asks(&n.to_string())?;
        all.push(begin.elapsed());
    }
    all.sort();
    println!(
        "  there and back: {:?} to {:?}, half of them within {:?}",
        all[0], all[19], all[10]
    );
    ensure!(
        all[0] >= Duration::from_millis(60) && all[10] < Duration::from_millis(80),
        "{all:?}"
    );
    Ok(())
}

pub fn a_seed_repeats_what_is_lost() -> Result<()> {
    let net = Net::make(2)?;
    let how = Disturbance {
        loss_permille: 200,
        ..Disturbance::default()
    };
    let lost = |seed| {
        let router = Router::start(&net, seed)?;
        router.disturb(N1, N2, &how)?;
        datagrams(&net, N1, N2, 400)
    };
    let once = lost(5)?;
    ensure!(once == lost(5)?, "the same seed, another loss");
    ensure!(once != lost(6)?, "another seed, the same loss");
    ensure!((280..360).contains(&once.len()), "{} of 400", once.len());
    Ok(())
}

pub fn a_rate_is_kept_and_idle_costs_nothing() -> Result<()> {
    let net = Net::make(2)?;
    let router = Router::start(&net, 3)?;
    let server = Server::start(&net, N2)?;
    let mut talk = Talk::begin(&net, N1, &server)?;
    let how = Disturbance {
        rate_kib_s: 512,
        queue_packets: 64,
        ..Disturbance::default()
    };
    router.disturb(N1, N2, &how)?;
    let took = stream(&mut talk, 1 << 20)?;
    let tally = router.tally(N1, N2);
    println!("  1 MiB at 512 KiB/s in {took:?}; {tally:?}");
    ensure!(
        took >= Duration::from_millis(1950) && took < Duration::from_secs(6),
        "{took:?}"
    );
    let before = router_cpu()?;
    std::thread::sleep(Duration::from_secs(1)); // long enough to see a busy loop
    let busy = router_cpu()? - before;
    println!("  idle for a second, the router ran for {} ms", busy * 10);
    ensure!(busy <= 2, "{busy} ticks");
    Ok(())
}

pub fn an_undisturbed_detour_is_fast() -> Result<()> {
    const BYTES: usize = 200 << 20;
    let net = Net::make(2)?;
    let router = Router::start(&net, 4)?;
    let server = Server::start(&net, N2)?;
    let mut talk = Talk::begin(&net, N1, &server)?;
    let direct = stream(&mut talk, BYTES)?;
    router.disturb_between(N1, N2, &Disturbance::default())?;
    let before = router_cpu()?;
    let took = stream(&mut talk, BYTES)?;
    let cpu = Duration::from_millis((router_cpu()? - before) * 10);
    let tally = router.tally(N1, N2);
    let speed = |took: Duration| BYTES as f64 / took.as_secs_f64() / 1e6;
    println!(
        "  over the bridge {:.0} MB/s, through the router {:.0} MB/s with {cpu:?} of {took:?} of a core",
        speed(direct),
        speed(took)
    );
    println!("  {tally:?}, {} missed", router.missed(N1)?);
    ensure!(tally.passed_bytes as usize > BYTES, "all of it came this way");
    ensure!(speed(took) > 20.0, "{took:?}");
    Ok(())
}

/// Processor time of the router's thread so far, in ticks of 10 ms.
fn router_cpu() -> Result<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", getpid().as_raw_nonzero()))?.flatten();
    let stats: Vec<_> = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
        .collect();
    let stat = stats
        .iter()
        .find(|stat| stat.contains("(router)"))
        .context("a thread of that name")?;
    let fields: Vec<_> = stat.split(") ").nth(1).context("fields")?.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
