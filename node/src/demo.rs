//! `kaiwa demo`: three nodes on loopback, a sample tenant, simulated customers and agents, and a page that shows it all.
//!
//! The nodes are real processes ([`crate::local`]); everybody else is a task of this one and talks to them as anybody
//! would: WebSocket, REST, admin API. Every message that was acknowledged to a simulated client is written into a book
//! ([`ledger`]) and asked for again once its conversation has ended ([`audit`]). One agent and one queue of the sample
//! tenant are left to the person who looks, so that who opens chat and desk in two tabs meets themself.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::auth::Role;
use crate::local::{LocalCluster, LocalOptions};

mod agents;
mod audit;
mod cast;
mod customers;
mod folder;
mod ledger;
mod page;
mod stage;
mod story;
mod ticker;
mod watch;

use ledger::Totals;
use stage::Stage;
use watch::{Nodes, Sight};

/// Shards beside the directory.
const SHARDS: u32 = 2;
/// How long customers may take to go at closing time.
const CLOSING: Duration = Duration::from_secs(15);
/// The `sub` of the token that the page's link to the chat carries; the sample tenant has a rule for it.
const VISITOR: &str = "visitor";

/// What can be chosen about a demo.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Empties `data` first. Refused for a folder that is not a demo's.
    pub fresh: bool,
    /// Folder for everything that the demo keeps.
    pub data: PathBuf,
    /// The page; node n listens on base + n (cluster), base + 100 + n (api) and base + 200 + n (admin).
    pub port_base: u16,
    /// Runs for so long, then stops and accounts for everything; `None`: until Ctrl-C.
    pub for_: Option<Duration>,
    /// Nodes.
    pub nodes: u64,
    /// Simulated customers that come, on average. 0: none.
    pub customers_per_minute: u32,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            fresh: false,
            data: PathBuf::from("data/demo"),
            port_base: 7_400,
            for_: None,
            nodes: 3,
            customers_per_minute: 20,
        }
    }
}

/// Runs a demo until Ctrl-C (`Ok`), or for the time that was asked for; an error when anything was lost, or when nothing
/// happened in that time.
pub async fn run(options: DemoOptions) -> Result<()> {
    let folder = folder::prepare(&options.data, options.fresh)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let interrupted = CancellationToken::new();
    let told = interrupted.clone();
    let signals = tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
    });
    // Dropped half-way, the nodes end with it.
    let result = tokio::select! {
        house = open(&options) => match house {
            Ok(house) => house.run(&options, &interrupted).await,
            Err(error) => Err(error),
        },
        () = interrupted.cancelled() => Ok(()),
    };
    signals.abort();
    drop(folder);
    result
}

/// Everything that runs.
struct House {
    stage: Arc<Stage>,
    nodes: Nodes,
    sight: Sight,
    page: TcpListener,
    tokens: Arc<(String, String)>,
}

async fn open(options: &DemoOptions) -> Result<House> {
    let base = options.port_base;
    let page = TcpListener::bind(("127.0.0.1", base))
        .await
        .with_context(|| format!("port {base} cannot be had: another demo? (--port-base chooses other ports)"))?;
    say(&format!(
        "Starting {} nodes in {} …",
        options.nodes,
        options.data.display()
    ));
    let cluster = LocalCluster::start(LocalOptions {
        binary: std::env::current_exe()?,
        dir: options.data.clone(),
        nodes: options.nodes,
        port_base: Some(base),
        shards: SHARDS,
        log: "info,openraft=error,chunked_wal=warn,raft_log=warn".to_owned(),
        more: String::new(),
        places: BTreeMap::new(),
    })
    .await?;
    let (mint, cast) = cast::load(&cluster, &options.data)
        .await
        .context("the sample tenant was not loaded")?;
    let tokens = Arc::new((
        mint.token(Role::Customer, VISITOR)?,
        mint.token(Role::Agent, &cast.yours)?,
    ));
    let stage = Arc::new(Stage {
        urls: cluster.api_urls(),
        mint,
        cast,
        ledger: ledger::Ledger::default(),
        ticker: ticker::Ticker::default(),
        nudge: channel::Sender::new(0),
        closing_time: CancellationToken::new(),
        curtain: CancellationToken::new(),
    });
    Ok(House {
        stage,
        nodes: Arc::new(tokio::sync::Mutex::new(cluster)),
        sight: Sight::default(),
        page,
        tokens,
    })
}

impl House {
    async fn run(self, options: &DemoOptions, interrupted: &CancellationToken) -> Result<()> {
        self.greet(options).await?;
        let Self {
            stage,
            nodes,
            sight,
            page: listener,
            tokens,
        } = self;
        let mut watching = JoinSet::new();
        watching.spawn(watch::run(Arc::clone(&stage), Arc::clone(&nodes), Arc::clone(&sight)));
        let page = page::Page {
            stage: Arc::clone(&stage),
            nodes: Arc::clone(&nodes),
            sight,
            tokens,
            began_ms: crate::wall_clock::now_ms(),
        };
        watching.spawn(async move { Ok(axum::serve(listener, page::router(page)).await?) });
        let auditor = Arc::new(audit::Auditor::new(Arc::clone(&stage), Arc::clone(&nodes))?);
        let audits = Arc::clone(&auditor);
        let auditing = tokio::spawn(async move { audits.run().await });

        let played = &stage.cast.played;
        let mut agents: JoinSet<()> = played
            .iter()
            .map(|name| agents::play(Arc::clone(&stage), name.clone()))
            .collect();
        let mut customers = tokio::spawn(customers::run(Arc::clone(&stage), options.customers_per_minute));
        tokio::select! {
            () = interrupted.cancelled() => {}
            () = sleep(options.for_.unwrap_or_default()), if options.for_.is_some() => {}
            Some(ended) = watching.join_next() => ended?.context("the page")?,
        }

        let closing = if interrupted.is_cancelled() {
            CLOSING / 5
        } else {
            CLOSING
        };
        say("Closing time …");
        stage.closing_time.cancel();
        if timeout(closing, &mut customers).await.is_err() {
            stage.curtain.cancel();
            let _ = timeout(CLOSING / 5, &mut customers).await;
            customers.abort();
        }
        stage.curtain.cancel();
        let _ = timeout(CLOSING / 3, async { while agents.join_next().await.is_some() {} }).await;
        agents.abort_all();
        auditing.abort();
        let reckoned = match timeout(CLOSING * 4, auditor.reckon()).await {
            Ok(reckoned) => reckoned,
            Err(_) => Err(anyhow::anyhow!("reading back took too long")),
        };
        watching.abort_all();
        nodes.lock().await.stop_all(Duration::from_secs(10)).await?;
        let asked = reckoned.context("not everything could be read back")?;
        say(&account(stage.ledger.totals(), &asked));
        verdict(stage.ledger.totals(), &stage.ledger.faults(), options.for_.is_some())
    }

    async fn greet(&self, options: &DemoOptions) -> Result<()> {
        let (customer, agent) = self.tokens.as_ref();
        let supervisor = self.stage.mint.token(Role::Supervisor, &self.stage.cast.supervisor)?;
        let cluster = self.nodes.lock().await;
        let urls = &self.stage.urls;
        let chat = page::link(urls, urls.first().map(String::as_str), "chat", customer);
        let desk = page::link(urls, urls.last().map(String::as_str), "desk", agent);
        let mut text = format!(
            "\nkaiwa demo is up: {} nodes, everything on disk in {}\n\n  Open  http://127.0.0.1:{}/\n\n",
            options.nodes,
            options.data.display(),
            options.port_base
        );
        for id in cluster.ids() {
            let (api, admin) = (cluster.api_url(id)?, cluster.admin_url(id)?);
            text += &format!(
                "  node {id}   api {api}   admin {admin}   pid {}   log {}\n",
                cluster.pid(id).unwrap_or_default(),
                cluster.log_file(id).display()
            );
        }
        let admin_url = cluster.admin_url(1)?;
        text += &format!(
            "\n  admin key         {}\n  tenant            {}\n  customer token    {customer}\n  agent token       \
             {agent}\n  supervisor token  {supervisor}\n\nTo try:\n  - Open the page, and from it the chat and the desk \
             in two tabs: you meet yourself. The same as links:\n      {}\n      {}\n  - Kill the node that leads, by the \
             page's button or by kill -9, and go on chatting. Start it again.\n  - curl -H 'Authorization: Bearer \
             {supervisor}' '{}/v1/conversations?limit=3'\n  - KAIWA_ADMIN_KEY={} kaiwa cluster status --admin \
             {admin_url}\n\nCtrl-C stops everything.\n",
            cluster.admin_key(),
            self.stage.mint.tenant,
            chat.as_str().unwrap_or_default(),
            desk.as_str().unwrap_or_default(),
            urls.first().map_or("", String::as_str),
            cluster.admin_key(),
        );
        say(&text);
        Ok(())
    }
}

fn account(totals: Totals, asked: &[u64]) -> String {
    let nodes: Vec<String> = asked.iter().map(u64::to_string).collect();
    format!(
        "Conversations: {} started, {} answered, {} closed; {} customers lost patience.\nMessages: {} acknowledged, {} \
         refused. Read back from nodes {}: {} conversations, {} messages found; {} lost, {} duplicated; {} gaps in what \
         clients were given.",
        totals.started,
        totals.answered,
        totals.closed,
        totals.gave_up,
        totals.acknowledged,
        totals.refused,
        nodes.join(", "),
        totals.read_back,
        totals.found,
        totals.lost,
        totals.duplicated,
        totals.gaps,
    )
}

fn verdict(totals: Totals, faults: &[String], timed: bool) -> Result<()> {
    if totals.lost > 0 || totals.duplicated > 0 || !faults.is_empty() {
        bail!(
            "{} acknowledged messages lost, {} duplicated:\n  {}",
            totals.lost,
            totals.duplicated,
            faults.join("\n  ")
        );
    }
    if timed && [totals.started, totals.answered, totals.closed, totals.found].contains(&0) {
        bail!("nothing happened: {totals:?}");
    }
    Ok(())
}

/// To whoever looks; that nobody does is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_loss_are_failures() {
        let good = Totals {
            started: 3,
            answered: 2,
            closed: 2,
            acknowledged: 9,
            read_back: 3,
            found: 27,
            ..Totals::default()
        };
        assert!(verdict(good, &[], true).is_ok());
        assert!(verdict(Totals::default(), &[], false).is_ok(), "Ctrl-C at once");
        assert!(verdict(Totals::default(), &[], true).is_err());
        assert!(verdict(Totals { answered: 0, ..good }, &[], true).is_err());
        assert!(verdict(Totals { lost: 1, ..good }, &[], false).is_err());
        assert!(verdict(Totals { duplicated: 1, ..good }, &[], true).is_err());
        assert!(verdict(good, &["replicas differ".to_owned()], true).is_err());
        assert!(account(good, &[1, 3]).contains("from nodes 1, 3"));
    }
}
