//! Partitions and resets.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chaos_tests::lab::net::{Host, Line, Net, Partition, Resets};

use crate::talk::{CLIENTS, N1, N2, N3, SILENCE, Server, Talk, is_heard};

pub fn everybody_hears_everybody() -> Result<()> {
    let net = Net::make(3)?;
    ensure!(net.add()? == Host::Node(4));
    for from in net.everybody() {
        for to in net.everybody() {
            ensure!(is_heard(&net, from, to)?, "{to} does not hear {from}");
        }
    }
    ensure!(net.met()?.total() == 0);
    Ok(())
}

pub fn a_cut_line_goes_on_when_healed() -> Result<()> {
    let net = Net::make(3)?;
    let server = Server::start(&net, N2)?;
    let mut talk = Talk::begin(&net, N1, &server)?;
    talk.asks("before")?;
    net.cut(N2, N1)?; // what n1 says still arrives; the answer does not
    talk.say("during")?;
    talk.0.set_read_timeout(Some(SILENCE))?;
    let error = talk.hears("during").expect_err("the way back is cut");
    ensure!(error.kind() == ErrorKind::WouldBlock, "{error}");
    ensure!(is_heard(&net, N1, N2)? && !is_heard(&net, N2, N1)?);
    let met = net.met()?;
    ensure!(met.cut.get(&(N2, N1)).is_some_and(|packets| *packets >= 2), "{met:?}");
    net.heal()?;
    let healed = Instant::now();
    talk.0.set_read_timeout(Some(Duration::from_secs(10)))?;
    talk.hears("during")?;
    println!(
        "  the connection went on {:?} after the cut was healed",
        healed.elapsed()
    );
    ensure!(net.met()?.since(&met).total() == 0);
    net.cut(N2, N1)?;
    ensure!(net.met()?.total() >= met.total(), "counters outlive the rules");
    Ok(())
}

pub fn partitions_cut_what_they_say() -> Result<()> {
    let net = Net::make(5)?;
    let all = [
        Partition::OneWay { from: N1, to: CLIENTS },
        Partition::Between(N1, N3),
        Partition::Lonely(N2),
        Partition::Deaf {
            node: N2,
            hears_nobody: true,
        },
        Partition::Deaf {
            node: N2,
            hears_nobody: false,
        },
        Partition::Hidden(N3),
        Partition::Gone(N1),
        Partition::Split(BTreeSet::from([N1, N2])),
        Partition::Bridge(N3),
        Partition::Ring,
    ];
    for partition in all {
        let (begin, before) = (Instant::now(), net.met()?);
        net.partition(&partition)?;
        let took = begin.elapsed();
        let expected = partition.lines(&net.nodes());
        let silent = silent_lines(&net)?;
        ensure!(silent == expected, "{partition}: {silent:?} instead of {expected:?}");
        let met: BTreeSet<Line> = net
            .met()?
            .since(&before)
            .cut
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(line, _)| line)
            .collect();
        ensure!(met == expected, "{partition}: counted {met:?}");
        net.heal()?;
        println!("  {partition}: {} lines in {took:?}", expected.len());
    }
    ensure!(silent_lines(&net)?.is_empty());
    Ok(())
}

/// Lines over which nothing comes; all are tried at once.
fn silent_lines(net: &Net) -> Result<BTreeSet<Line>> {
    let everybody = net.everybody();
    let lines = everybody
        .iter()
        .flat_map(|from| everybody.iter().map(|to| (*from, *to)));
    std::thread::scope(|scope| {
        let tried: Vec<_> = lines
            .map(|(from, to)| ((from, to), scope.spawn(move || is_heard(net, from, to))))
            .collect();
        let mut silent = BTreeSet::new();
        for (line, heard) in tried {
            if !heard.join().expect("no panic")? {
                silent.insert(line);
            }
        }
        Ok(silent)
    })
}

pub fn a_reset_line_resets_the_sender() -> Result<()> {
    let net = Net::make(3)?;
    let mut server = Server::start(&net, N2)?;
    let mut talk = Talk::begin(&net, CLIENTS, &server)?;
    let mut other = Talk::begin(&net, N3, &server)?;
    talk.asks("before")?;
    net.reset(CLIENTS, N2, Resets::Every)?;
    talk.say("during")?;
    let error = talk.hears("during").expect_err("a reset");
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    ensure!(Talk::begin(&net, CLIENTS, &server).is_err_and(|error| error.root_cause().to_string().contains("refused")));
    other.asks("others are left alone")?;
    ensure!(is_heard(&net, CLIENTS, N2)?, "what is not TCP passes");
    ensure!(net.met()?.reset[&(CLIENTS, N2)] == 2, "{:?}", net.met()?);
    net.heal()?;
    Talk::begin(&net, CLIENTS, &server)?.asks("after")?;
    // The server's half still stands, and ends when it is severed.
    ensure!(net.sever(N2, CLIENTS)? >= 1);
    ensure!(server.says()? == "reset");
    Ok(())
}

pub fn resets_are_counted() -> Result<()> {
    let net = Net::make(2)?;
    let server = Server::start(&net, N2)?;
    net.reset(N1, N2, Resets::First(2))?;
    for _ in 0..2 {
        ensure!(Talk::begin(&net, N1, &server).is_err());
    }
    Talk::begin(&net, N1, &server)?.asks("the third")?;
    ensure!(net.met()?.reset[&(N1, N2)] == 2, "{:?}", net.met()?);
    net.reset(N1, N2, Resets::OneIn(40))?;
    let mut talk = Talk::begin(&net, N1, &server)?;
    let asked = (0..100).take_while(|n| talk.asks(&n.to_string()).is_ok()).count();
    ensure!((5..60).contains(&asked), "reset after {asked} questions");
    println!("  of one in 40 segments, the reset came after {asked} questions");
    Ok(())
}

pub fn severed_connections_end_for_both() -> Result<()> {
    let net = Net::make(3)?;
    let mut server = Server::start(&net, N2)?;
    let mut talks = (0..3)
        .map(|_| Talk::begin(&net, N1, &server))
        .collect::<Result<Vec<_>>>()?;
    let mut other = Talk::begin(&net, N3, &server)?;
    for talk in &mut talks {
        talk.asks("before")?;
    }
    let ended = net.sever(N2, N1)?;
    ensure!(ended == 3, "{ended} connections were severed");
    for talk in &mut talks {
        let error = talk.hears("nothing").expect_err("a reset");
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
        ensure!(server.says()? == "reset");
    }
    other.asks("others are left alone")?;
    Talk::begin(&net, N1, &server)?.asks("after")?;
    Ok(())
}
