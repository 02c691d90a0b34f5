//! A fourth node joins and the first leaves, while people chat; nothing is lost.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use chaos_tests::oracle;
use chaos_tests::people::People;
use chaos_tests::world::{World, kaiwa};

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_node_joins_and_the_first_leaves_under_traffic() -> Result<()> {
    let mut world = World::start(3, 12, 5).await?;
    let people = People::start(&world, 40);
    people.wait_until_owned(30).await?;

    world.cluster.prepare(4)?;
    world.cluster.start_node(4)?;
    world.cluster.wait_live(Duration::from_secs(30)).await?;
    let address = world.cluster.cluster_address(4)?.to_string();
    cluster_command(&world, 2, &["add-node", "4", &address])?;
    world.cluster.wait_ready(Duration::from_secs(60)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    cluster_command(&world, 2, &["remove-node", "1"])?;
    world.cluster.stop(1).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let status = cluster_command(&world, 4, &["status"])?;
    eprintln!("{status}");

    assert!(
        people.fall_silent(Duration::from_secs(60)).await,
        "commands were never settled"
    );
    people.wait_until_offers_ended().await?;
    world.wait_quiet(Duration::from_secs(60)).await?;
    world.wait_equal(Duration::from_secs(60)).await?;
    for shard in world.cluster.status(4).await?.shards {
        ensure!(
            shard.voters == [2, 3, 4],
            "shard {} has the voters {:?}",
            shard.shard,
            shard.voters
        );
    }
    let verdict = oracle::check(&mut world, &people.diary, Duration::from_secs(5)).await?;
    eprintln!("{verdict:?}");
    assert!(verdict.messages > 200, "too little happened: {verdict:?}");
    Ok(())
}

/// `kaiwa cluster …` against a node, as an operator would.
fn cluster_command(world: &World, node: u64, arguments: &[&str]) -> Result<String> {
    let output = Command::new(kaiwa())
        .arg("cluster")
        .args(arguments)
        .args([
            "--admin",
            &world.cluster.admin_url(node)?,
            "--key",
            world.cluster.admin_key(),
        ])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}
