//! kill -9 of every node in turn, beginning with the one that leads, and of all at once, under 200 conversations.

use std::time::Duration;

use anyhow::Result;
use chaos_tests::oracle;
use chaos_tests::people::People;
use chaos_tests::world::World;

const CUSTOMERS: usize = 200;
const AGENTS: usize = 45;
const CONCURRENT: u16 = 6;
/// How long a node stays away: time to fail over, for offers to expire and for wrap-ups to end meanwhile.
const AWAY: Duration = Duration::from_secs(4);
/// How long people go on after a node is back.
const AFTER: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_nodes_are_killed() -> Result<()> {
    let mut world = World::start(3, AGENTS, CONCURRENT).await?;
    let people = People::start(&world, CUSTOMERS);
    people.wait_until_owned(CUSTOMERS * 3 / 4).await?;

    let leader = world.leader().await?;
    let mut longest_pause = Duration::ZERO;
    let others: Vec<u64> = world.cluster.ids().into_iter().filter(|id| *id != leader).collect();
    for (round, node) in [leader].into_iter().chain(others).enumerate() {
        people.diary.lock().await.watch_pause();
        world.cluster.kill(node)?;
        tokio::time::sleep(AWAY).await;
        world.cluster.start_node(node)?;
        world.cluster.wait_ready(Duration::from_secs(60)).await?;
        tokio::time::sleep(AFTER).await;
        let pause = people.diary.lock().await.longest_pause;
        eprintln!("round {round}: node {node} killed; longest time without any acknowledgement {pause:?}");
        longest_pause = longest_pause.max(pause);
    }

    people.diary.lock().await.watch_pause();
    world.cluster.kill_all()?;
    for id in world.cluster.ids() {
        world.cluster.start_node(id)?;
    }
    world.cluster.wait_ready(Duration::from_secs(60)).await?;
    tokio::time::sleep(AFTER + AWAY).await;
    let pause = people.diary.lock().await.longest_pause;
    eprintln!("all nodes killed; longest time without any acknowledgement {pause:?}");
    longest_pause = longest_pause.max(pause);

    assert!(
        people.fall_silent(Duration::from_secs(60)).await,
        "commands were never settled"
    );
    people.wait_until_offers_ended().await?;
    world.wait_quiet(Duration::from_secs(60)).await?;
    world.wait_equal(Duration::from_secs(60)).await?;
    let verdict = oracle::check(&mut world, &people.diary, longest_pause).await?;
    eprintln!("{verdict:?}");
    assert!(verdict.messages > 2_000, "too little happened: {verdict:?}");
    assert!(verdict.offers.1 > 0, "no offer expired: {verdict:?}");
    assert!(verdict.wrap_ups > 0, "no wrap-up ended: {verdict:?}");
    Ok(())
}
