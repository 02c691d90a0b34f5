//! Actors that panic, in real processes: they are started again, and nobody who waits is forgotten.
//!
//! Only with the feature `failpoints`: `cargo test -p kaiwa --features failpoints --test failing_actors`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use node::auth::{Grant, Role, SigningKey, issue_token, unix_now_s};
use node::client::{Client, ClientEvents};
use node::local::{LocalCluster, LocalOptions};
use reqwest::Method;
use routing::ids::{ConversationId, TenantId};
use serde_json::{Value, json};

const TENANT: TenantId = TenantId(0x0193_0000_0000_7000_8000_0000_0000_0001);
const SECRET: &str = "a secret for tests only, of more than 32 bytes";
/// Restarts and leases are seconds.
const PATIENCE: Duration = Duration::from_secs(30);

const POLICY: &str = r#"
[tenant]
name = "failing"

[[key]]
kid = "k"
algorithm = "HS256"
secret = "a secret for tests only, of more than 32 bytes"

[[queue]]
name = "general"
offer_timeout = "30s"

[fallback]
queues = ["general"]

[[agent]]
name = "ada"
queues = ["general"]
channels = { web_chat = { concurrent_max = 50 } }

[[agent]]
name = "boss"
queues = []
supervisor = true
channels = { web_chat = { concurrent_max = 1 } }
"#;

struct World {
    cluster: LocalCluster,
    http: reqwest::Client,
    clients: u64,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start(nodes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = LocalCluster::start(LocalOptions {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_kaiwa")),
            dir: dir.path().to_owned(),
            nodes,
            port_base: None,
            shards: 1,
            log: "info".to_owned(),
            more: String::new(),
            places: Default::default(),
        });
        let cluster = cluster.await.unwrap();
        let file = dir.path().join("tenant.toml");
        std::fs::write(&file, POLICY).unwrap();
        cluster.load_tenant(&file, TENANT).unwrap();
        Self {
            cluster,
            http: reqwest::Client::new(),
            clients: 0,
            _dir: dir,
        }
    }

    fn token(role: Role, subject: &str) -> String {
        let grant = Grant {
            tenant: TENANT,
            role,
            subject: subject.to_owned(),
            audience: "kaiwa".to_owned(),
            issuer: None,
            not_before_s: unix_now_s() - 60,
            expires_at_s: unix_now_s() + 3_600,
        };
        issue_token("k", &SigningKey::Hs256(SECRET.to_owned()), &grant).unwrap()
    }

    fn client(&mut self, role: Role, subject: &str) -> (Client, ClientEvents) {
        self.clients += 1;
        Client::connect(self.cluster.api_urls(), Self::token(role, subject), self.clients)
    }

    async fn fail(&self, node: u64, point: &str, actions: &str) {
        let path = format!("/v1/admin/failpoints/{point}");
        let body = json!({ "actions": actions });
        self.cluster.admin(node, Method::PUT, &path, Some(&body)).await.unwrap();
    }

    async fn conversation(&self, id: ConversationId) -> Value {
        let url = format!("{}/v1/conversations/{id}", self.cluster.api_url(1).unwrap());
        let request = self.http.get(url).bearer_auth(Self::token(Role::Supervisor, "boss"));
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn wait(&self, id: ConversationId, what: &str, is_so: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.conversation(id).await;
            if is_so(&now) {
                return;
            }
            assert!(Instant::now() < until, "{what}: {now}\n{}", self.cluster.log_tail(1));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How often actors of a kind have failed on a node.
    async fn restarts(&self, node: u64, actor_type: &str) -> u64 {
        self.metric(node, "kaiwa_actor_restarts_total", actor_type).await
    }

    async fn metric(&self, node: u64, name: &str, actor_type: &str) -> u64 {
        let scrape = self.cluster.metrics(node).await.unwrap();
        scrape.sum(name, &format!("actor_type=\"{actor_type}\"")) as u64
    }

    async fn leader(&self) -> u64 {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.cluster.status(1).await.unwrap();
            if let Some(leader) = status.leader(1) {
                return leader;
            }
            assert!(Instant::now() < until, "no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn offered(view: &Value) -> bool {
    view["phase"] == "offered"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_actor_fails_once_and_work_goes_on() {
    let mut world = World::start(1).await;
    let (ada, _ada_hears) = world.client(Role::Agent, "ada");
    ada.sign_in().await.unwrap();
    for (point, actor_type) in [
        ("actors::queue_manager", "queue_manager"),
        ("actors::conversation", "conversation"),
        ("actors::agent", "agent"),
        ("actors::supervisor", "supervisor"),
        ("actors::fan_out", "supervisor"),
    ] {
        let before = world.restarts(1, actor_type).await;
        world.fail(1, point, "1*panic").await;
        let (customer, _hears) = world.client(Role::Customer, &format!("of {point}"));
        let begun = customer.start(BTreeMap::new(), Some("hello")).await.unwrap();
        let id = begun.conversation.unwrap();
        if point == "actors::agent" {
            // Something for it to hear of.
            ada.break_connection();
        }
        world.wait(id, point, offered).await;
        let until = Instant::now() + PATIENCE;
        while world.restarts(1, actor_type).await == before {
            assert!(Instant::now() < until, "{point} did not fail: nothing was tried");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        customer.close();
        // Whatever failed meanwhile: who left is noticed.
        world
            .wait(id, "the customer to be gone", |view| view["customer_present"] == false)
            .await;
    }
    // The lease was kept over all of it.
    let (customer, _hears) = world.client(Role::Customer, "the last");
    let begun = customer.start(BTreeMap::new(), None).await.unwrap();
    world.wait(begun.conversation.unwrap(), "the last", offered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_leaves_just_when_the_actor_fails_is_noticed() {
    let mut world = World::start(1).await;
    let (customer, _hears) = world.client(Role::Customer, "cus");
    let begun = customer.start(BTreeMap::new(), Some("hello")).await.unwrap();
    let id = begun.conversation.unwrap();
    world
        .wait(id, "the customer to be there", |view| view["customer_present"] == true)
        .await;
    // Once it is there, the next thing that it hears is that the socket is gone.
    let until = Instant::now() + PATIENCE;
    while world.metric(1, "kaiwa_actors", "conversation").await == 0 {
        assert!(Instant::now() < until, "no actor listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.fail(1, "actors::conversation", "1*panic").await;
    customer.close();
    world
        .wait(id, "the customer to be gone", |view| view["customer_present"] == false)
        .await;
    assert_eq!(world.restarts(1, "conversation").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_again_and_again_is_bounded_and_led_by_another() {
    for point in ["actors::queue_manager", "actors::supervisor"] {
        let mut world = World::start(3).await;
        let (ada, _ada_hears) = world.client(Role::Agent, "ada");
        ada.sign_in().await.unwrap();
        let bad = world.leader().await;
        let actor_type = point.trim_start_matches("actors::");
        world.fail(bad, point, "panic").await;
        let (customer, _hears) = world.client(Role::Customer, "cus");
        let begun = customer.start(BTreeMap::new(), Some("hello")).await.unwrap();
        world.wait(begun.conversation.unwrap(), point, offered).await;
        assert_ne!(world.leader().await, bad, "another leads");
        // Where nothing is led, only the supervisor itself goes on failing: at most ten, and one every five seconds.
        let restarts = world.restarts(bad, actor_type).await;
        assert!((1..=40).contains(&restarts), "{restarts}");
    }
}
