//! kill -9 of the leader, and then of every node, while relaxations, rings, escalations, schedules, callbacks, warm transfers,
//! conferences, parallel offers, invitations and the deadlines of silence are in flight.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_tests::oracle;
use chaos_tests::situations::Tally;
use chaos_tests::situations::later::{Callbacks, Scheduled};
use chaos_tests::situations::offered::{Expiring, Parallel};
use chaos_tests::situations::silence::{Idle, Returning, Silent};
use chaos_tests::situations::together::{Conference, Unanswered, Warm};
use chaos_tests::situations::waiting::{Escalating, Night, Placed, Relaxed, Ringed};
use chaos_tests::stage::{SECOND_STEP_MS, STEP_MS, Stage, now_ms};

/// Who is killed in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Killed {
    Leader,
    All,
}

/// What has no deadline that could pass while the rest is being set up.
struct Standing {
    warm: Warm,
    conference: Conference,
    parallel: Parallel,
    returning: Returning,
}

/// What has a deadline [`STEP_MS`] after it began.
struct Running {
    relaxed: Relaxed,
    placed: Placed,
    ringed: Ringed,
    escalating: Escalating,
    night: Night,
    scheduled: Scheduled,
    unanswered: Unanswered,
    expiring: Expiring,
    idle: Idle,
    silent: Silent,
    callbacks: Callbacks,
}

impl Standing {
    async fn begin(stage: &Stage) -> Result<Self> {
        let (warm, conference, parallel, returning) = tokio::try_join!(
            Warm::begin(stage),
            Conference::begin(stage),
            Parallel::begin(stage),
            Returning::begin(stage),
        )?;
        Ok(Self {
            warm,
            conference,
            parallel,
            returning,
        })
    }

    async fn check(self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        self.warm.check(stage, tally).await.context("warm transfers")?;
        self.conference.check(stage, tally).await.context("conferences")?;
        self.parallel.check(stage, tally).await.context("parallel offers")?;
        self.returning.check(stage, tally).await.context("returns")
    }
}

impl Running {
    async fn begin(stage: &Stage, returning: &mut Returning) -> Result<Self> {
        // Two seconds until a customer counts as gone, and only then the hold begins: by then the others are under way.
        let others = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            tokio::try_join!(
                Relaxed::begin(stage),
                Placed::begin(stage),
                Ringed::begin(stage),
                Escalating::begin(stage),
                Night::begin(stage),
                Scheduled::begin(stage),
                Unanswered::begin(stage),
                Expiring::begin(stage),
                Idle::begin(stage),
                Silent::begin(stage),
                returning.go_on(),
            )
        };
        let (callbacks, others) = tokio::try_join!(Callbacks::begin(stage), others)?;
        let (relaxed, placed, ringed, escalating, night, scheduled, unanswered, expiring, idle, silent, ()) = others;
        Ok(Self {
            relaxed,
            placed,
            ringed,
            escalating,
            night,
            scheduled,
            unanswered,
            expiring,
            idle,
            silent,
            callbacks,
        })
    }

    async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        self.relaxed.check(stage, tally).await.context("relaxations")?;
        self.ringed.check(stage, tally).await.context("rings")?;
        self.escalating.check(stage, tally).await.context("escalations")?;
        self.night.check(stage, tally).await.context("closed hours")?;
        self.scheduled.check(stage, tally).await.context("schedules")?;
        self.unanswered.check(stage, tally).await.context("invitations")?;
        self.expiring.check(stage, tally).await.context("expiring offers")?;
        self.idle.check(stage, tally).await.context("idle pauses")?;
        self.silent.check(stage, tally).await.context("silent abandonment")?;
        self.callbacks.check(stage, tally).await.context("callbacks")?;
        self.placed.check(stage, tally).await.context("places")
    }
}

/// Everything is set up, nodes die, all deadlines pass, the nodes come back, and everything is looked at.
async fn round(stage: &mut Stage, killed: Killed, tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    let mut standing = Standing::begin(stage).await.context("setting up what stands")?;
    let standing_after = begun.elapsed();
    let first_ms = now_ms() + STEP_MS;
    let running = Running::begin(stage, &mut standing.returning)
        .await
        .context("setting up what runs")?;
    let last_ms = now_ms() + SECOND_STEP_MS;
    eprintln!(
        "round {}: set up in {standing_after:?} and {:?}",
        stage.round,
        begun.elapsed()
    );
    let leader = stage.world.leader().await?;
    standing.parallel.reach_for_half(stage).await?;
    standing.warm.reach_for_some(stage);
    ensure!(
        now_ms() < first_ms,
        "too slow: the first deadline has passed before anything died"
    );
    match killed {
        Killed::Leader => stage.world.cluster.kill(leader)?,
        Killed::All => stage.world.cluster.kill_all()?,
    }
    while now_ms() < last_ms {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for id in stage.world.cluster.ids() {
        if killed == Killed::All || id == leader {
            stage.world.cluster.start_node(id)?;
        }
    }
    stage.world.cluster.wait_ready(Duration::from_secs(60)).await?;
    eprintln!(
        "round {}: {killed:?} killed and back after {:?}",
        stage.round,
        begun.elapsed()
    );
    let (mut of_running, mut of_standing) = (Tally::default(), Tally::default());
    tokio::try_join!(
        running.check(stage, &mut of_running),
        standing.check(stage, &mut of_standing)
    )?;
    for (what, many) in of_running.all().chain(of_standing.all()) {
        tally.add(what, many);
    }
    stage.close_all().await?;
    eprintln!("round {}: over after {:?}", stage.round, begun.elapsed());
    stage.round += 1;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_when_nodes_are_killed_is_done_once_and_in_time() -> Result<()> {
    let mut stage = Stage::open().await?;
    let mut tally = Tally::default();
    for killed in [Killed::Leader, Killed::All] {
        round(&mut stage, killed, &mut tally)
            .await
            .with_context(|| format!("{killed:?} killed"))?;
    }
    let pause = stage.pulse.longest_pause();
    stage.pulse.stop();
    stage.world.wait_equal(Duration::from_secs(60)).await?;
    let verdict = oracle::check(&mut stage.world, &stage.diary, pause).await?;
    eprintln!("longest time without any acknowledgement {pause:?}; {tally}; {verdict:?}");
    let expected = [
        ("relaxed", 16),
        ("kept their place", 16),
        ("rings", 16),
        ("escalations", 16),
        ("closed hours", 16),
        ("schedules", 16),
        ("callbacks", 16),
        ("abandoned", 16),
        ("warm transfers", 32),
        ("conferences", 8),
        ("expired invitations", 16),
        ("parallel offers", 16),
        ("expired offers", 32),
        ("idle pauses", 16),
        ("silent abandonments", 16),
        ("returns", 16),
    ];
    for (what, many) in expected {
        let counted = tally.all().find(|(counted, _)| *counted == what);
        ensure!(counted == Some((what, many)), "{what}: {counted:?} of {many}");
    }
    ensure!(verdict.messages > 500, "too little was said: {verdict:?}");
    Ok(())
}
