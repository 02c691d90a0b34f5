//! The cluster: making it, its nodes, its leaders.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use cluster::error::{InitError, MembershipError};
use cluster::state_machine::ShardId;
use cluster::status::{ClusterStatus, Role, ShardStatus};
use cluster::transport::{NodeId, PeerAddress};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Administrator;
use crate::api::input::{At, Given};
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};

/// Shards of one cluster.
const SHARDS_MAX: u32 = 1_024;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(init))
        .routes(routes!(status))
        .routes(routes!(add_node))
        .routes(routes!(remove_node))
        .routes(routes!(transfer_leader))
}

/// A node and where the others reach it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeBody {
    /// Its number, unique for ever.
    pub id: u64,
    /// Cluster address, `host:port`, as the other nodes reach it.
    #[schema(value_type = String, example = "10.0.0.1:7400")]
    pub address: SocketAddr,
}

/// A cluster to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitBody {
    /// Its nodes, the one that is asked included.
    pub nodes: Vec<NodeBody>,
    /// Shards for tenants, beside the directory.
    #[schema(minimum = 1, maximum = 1024)]
    pub shards: u32,
}

/// A cluster that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct InitDone {
    /// The cluster's number.
    pub cluster: String,
}

impl From<InitError> for Problem {
    fn from(error: InitError) -> Self {
        let (status, code) = match &error {
            InitError::NotAmongNodes(_) => (StatusCode::UNPROCESSABLE_ENTITY, "not_among_nodes"),
            InitError::AlreadyInCluster(_) => (StatusCode::CONFLICT, "already_in_cluster"),
            InitError::Unreachable(..) => (StatusCode::BAD_GATEWAY, "node_unreachable"),
            InitError::NoLeader(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            InitError::Start(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let mut problem = Self::new(status, code, error.to_string());
        problem.retry_after_ms = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1_000);
        problem
    }
}

impl From<MembershipError> for Problem {
    fn from(error: MembershipError) -> Self {
        let (status, code) = match &error {
            MembershipError::NoLeader(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            MembershipError::UnknownNode(_) => (StatusCode::NOT_FOUND, "unknown_node"),
            MembershipError::Unreachable(..) => (StatusCode::BAD_GATEWAY, "node_unreachable"),
            MembershipError::QuorumAtRisk { .. } => (StatusCode::CONFLICT, "quorum_at_risk"),
            MembershipError::Timeout(..) => (StatusCode::GATEWAY_TIMEOUT, "not_finished"),
            MembershipError::OtherCluster(_) => (StatusCode::CONFLICT, "other_cluster"),
            MembershipError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        let mut problem = Self::new(status, code, error.to_string());
        problem.retry_after_ms = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1_000);
        problem
    }
}

/// Makes the cluster, once. May be repeated with the same nodes when it was cut short.
#[utoipa::path(
    post, path = "/v1/admin/cluster/init", tag = "cluster", request_body = InitBody,
    responses((status = 200, body = InitDone))
)]
pub async fn init(
    State(state): State<ApiState>,
    _: Administrator,
    Given(InitBody { nodes, shards }): Given<InitBody>,
) -> Reply<InitDone> {
    if nodes.is_empty() {
        return Err(Problem::invalid("invalid", "/nodes", "a cluster has at least one node"));
    }
    if !(1..=SHARDS_MAX).contains(&shards) {
        return Err(Problem::invalid("invalid", "/shards", format!("1 to {SHARDS_MAX}")));
    }
    let mut peers = BTreeMap::new();
    for (index, NodeBody { id, address }) in nodes.into_iter().enumerate() {
        if peers.insert(NodeId(id), PeerAddress { address }).is_some() {
            return Err(Problem::invalid(
                "invalid",
                format!("/nodes/{index}/id"),
                format!("node {id} is there twice"),
            ));
        }
    }
    let cluster = state.backend.init(peers, shards).await?;
    Ok(axum::Json(InitDone {
        cluster: cluster.to_string(),
    }))
}

/// The cluster, as one node sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StatusBody {
    /// The node that answers.
    pub node: u64,
    /// The cluster's number; absent before it is made or joined.
    pub cluster: Option<String>,
    /// Nodes and their cluster addresses.
    pub nodes: BTreeMap<String, String>,
    /// Public addresses of nodes.
    pub public: BTreeMap<String, String>,
    /// Nodes that drain.
    pub draining: Vec<u64>,
    /// Replicas on the node that answers.
    pub shards: Vec<ShardBody>,
}

impl StatusBody {
    /// Who leads a shard, as far as the node that answers knows.
    pub fn leader(&self, shard: u32) -> Option<u64> {
        self.replica(shard)?.leader
    }

    /// Its replica of a shard.
    pub fn replica(&self, shard: u32) -> Option<&ShardBody> {
        self.shards.iter().find(|replica| replica.shard == shard)
    }
}

/// A replica.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ShardBody {
    /// The shard; 0 is the directory.
    pub shard: u32,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: String,
    /// Current term.
    pub term: u64,
    /// The leader, if known.
    pub leader: Option<u64>,
    /// Members with a vote.
    pub voters: Vec<u64>,
    /// Members without one.
    pub learners: Vec<u64>,
    /// Last index in the log.
    pub last_index: u64,
    /// Last index known to be committed.
    pub commit_index: u64,
    /// Last index applied.
    pub applied_index: u64,
    /// Index of the newest snapshot.
    pub snapshot_index: u64,
    /// Last index purged from the log.
    pub purged_index: u64,
    /// Index of `digest`.
    pub digest_index: u64,
    /// Digest of the state at `digest_index`, hexadecimal.
    pub digest: String,
    /// Commands that wait to be proposed.
    pub pending: u64,
    /// On the leader: entries that each other member lacks.
    pub lag: BTreeMap<String, u64>,
}

fn numbers(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

impl From<&ShardStatus> for ShardBody {
    fn from(from: &ShardStatus) -> Self {
        let role = match from.role {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        };
        Self {
            shard: from.shard.0,
            role: role.to_owned(),
            term: from.term,
            leader: from.leader.map(|node| node.0),
            voters: numbers(&from.voters),
            learners: numbers(&from.learners),
            last_index: from.last_index,
            commit_index: from.commit_index,
            applied_index: from.applied_index,
            snapshot_index: from.snapshot_index,
            purged_index: from.purged_index,
            digest_index: from.digest_index,
            digest: format!("{:016x}", from.digest),
            pending: from.pending,
            lag: from
                .peers
                .iter()
                .map(|(node, progress)| (node.to_string(), progress.lag))
                .collect(),
        }
    }
}

/// What this node knows of nodes, shards, leaders, indexes, lag. Answered locally, also without a quorum.
#[utoipa::path(
    get, path = "/v1/admin/cluster/status", tag = "cluster",
    responses((status = 200, body = StatusBody))
)]
pub async fn status(State(state): State<ApiState>, _: Administrator) -> Reply<StatusBody> {
    let ClusterStatus {
        node,
        cluster,
        nodes,
        shards,
    } = state.backend.status();
    let directory = state.backend.directory();
    Ok(axum::Json(StatusBody {
        node: node.0,
        cluster: cluster.map(|cluster| cluster.to_string()),
        nodes: nodes
            .iter()
            .map(|(node, peer)| (node.to_string(), peer.address.to_string()))
            .collect(),
        public: directory
            .nodes
            .iter()
            .map(|(node, url)| (node.to_string(), url.clone()))
            .collect(),
        draining: directory.draining.iter().copied().collect(),
        shards: shards.iter().map(ShardBody::from).collect(),
    }))
}

/// Adds a node that runs with an empty disk: learner, caught up, voter, shard by shard. Repeat it when it was cut short.
#[utoipa::path(
    post, path = "/v1/admin/cluster/nodes", tag = "cluster", request_body = NodeBody,
    responses((status = 204))
)]
pub async fn add_node(
    State(state): State<ApiState>,
    _: Administrator,
    Given(NodeBody { id, address }): Given<NodeBody>,
) -> Result<StatusCode, Problem> {
    state.backend.add_node(NodeId(id), PeerAddress { address }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a node out of every shard. Refused when a quorum would be at risk.
#[utoipa::path(
    delete, path = "/v1/admin/cluster/nodes/{node}", tag = "cluster",
    params(("node" = u64, Path, description = "The node's number")),
    responses((status = 204))
)]
pub async fn remove_node(
    State(state): State<ApiState>,
    _: Administrator,
    At(node): At<u64>,
) -> Result<StatusCode, Problem> {
    state.backend.remove_node(NodeId(node)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who shall lead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaderBody {
    /// A voter of the shard.
    pub node: u64,
}

/// Hands a shard's leadership to another node.
#[utoipa::path(
    post, path = "/v1/admin/cluster/shards/{shard}/leader", tag = "cluster", request_body = LeaderBody,
    params(("shard" = u32, Path, description = "The shard; 0 is the directory")),
    responses((status = 204))
)]
pub async fn transfer_leader(
    State(state): State<ApiState>,
    _: Administrator,
    At(shard): At<u32>,
    Given(LeaderBody { node }): Given<LeaderBody>,
) -> Result<StatusCode, Problem> {
    state.backend.transfer_leader(ShardId(shard), NodeId(node)).await?;
    Ok(StatusCode::NO_CONTENT)
}
