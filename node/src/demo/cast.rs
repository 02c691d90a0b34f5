//! The sample tenant: loaded, given a key, and read again to learn who is who.

use std::path::Path;

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::stage::{Cast, Mint};

use crate::auth::SigningKey;
use crate::cli::tenant;
use crate::directory::{KeyAlgorithm, TenantKey};
use crate::local::{LocalCluster, kept_secret};
use crate::tenant_file::TenantFile;

/// The sample tenant; the file is an example for people, too.
const SAMPLE: &str = include_str!("../../../ops/demo-tenant.toml");
/// Key id of the demo's tokens.
const KID: &str = "demo";
/// The queue of the sample tenant that only the person's agent serves.
const YOURS: &str = "yours";

/// Makes the tenant what the sample says (again, if it is there), with a key that stays in the data folder.
pub async fn load(cluster: &LocalCluster, data: &Path) -> Result<(Mint, Cast)> {
    let secret = kept_secret(&data.join("tenant.key"))?;
    let mut file = TenantFile::parse("ops/demo-tenant.toml", SAMPLE, [])?;
    file.keys = vec![TenantKey {
        kid: KID.to_owned(),
        algorithm: KeyAlgorithm::Hs256,
        material: secret.clone(),
    }];
    let tenant = tenant::load_file(&cluster.admin_url(1)?, cluster.admin_key(), &file).await?;
    let cast = read_cast(cluster, &format!("/v1/admin/tenants/{tenant}")).await?;
    let mint = Mint {
        tenant,
        kid: KID.to_owned(),
        key: SigningKey::Hs256(secret),
    };
    Ok((mint, cast))
}

#[derive(Deserialize)]
struct Row<I, S> {
    id: I,
    settings: S,
}

#[derive(Deserialize)]
struct QueueRow {
    name: String,
}

#[derive(Deserialize)]
struct AgentRow {
    name: String,
    queues: Vec<routing::ids::QueueId>,
    supervisor: bool,
}

async fn read_cast(cluster: &LocalCluster, base: &str) -> Result<Cast> {
    let queues = cluster.admin(1, Method::GET, &format!("{base}/queues"), None).await?;
    let agents = cluster
        .admin(1, Method::GET, &format!("{base}/agents?limit=500"), None)
        .await?;
    who_is_who(&queues["queues"], &agents["agents"])
}

fn who_is_who(queues: &Value, agents: &Value) -> Result<Cast> {
    let queues: Vec<Row<routing::ids::QueueId, QueueRow>> = serde_json::from_value(queues.clone())?;
    let agents: Vec<Row<routing::ids::AgentId, AgentRow>> = serde_json::from_value(agents.clone())?;
    let yours = queues.iter().find(|queue| queue.settings.name == YOURS);
    let yours = yours
        .with_context(|| format!("the sample tenant has no queue `{YOURS}`"))?
        .id;
    let mut cast = Cast::default();
    for queue in queues {
        cast.queues.insert(queue.id, queue.settings.name);
    }
    for agent in agents {
        let AgentRow {
            name,
            queues,
            supervisor,
        } = agent.settings;
        if queues.contains(&yours) {
            cast.yours.clone_from(&name);
        } else {
            for queue in queues {
                cast.members.entry(queue).or_default().push((agent.id, name.clone()));
            }
            cast.played.push(name.clone());
        }
        if supervisor {
            cast.supervisor = name;
        }
    }
    anyhow::ensure!(!cast.yours.is_empty(), "nobody serves the queue `{YOURS}`");
    anyhow::ensure!(!cast.supervisor.is_empty(), "the sample tenant has no supervisor");
    Ok(cast)
}

#[cfg(test)]
mod tests {
    use routing::ids::{AgentId, QueueId};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_person_has_an_agent_and_a_queue_of_their_own() {
        let queues = json!([
            {"id": QueueId(1), "settings": {"name": "sales"}},
            {"id": QueueId(2), "settings": {"name": "yours"}},
        ]);
        let agents = json!([
            {"id": AgentId(1), "settings": {"name": "hana", "queues": [QueueId(1)], "supervisor": true}},
            {"id": AgentId(2), "settings": {"name": "you", "queues": [QueueId(2)], "supervisor": false}},
        ]);
        let cast = who_is_who(&queues, &agents).unwrap();
        assert_eq!((cast.yours.as_str(), cast.supervisor.as_str()), ("you", "hana"));
        assert_eq!(cast.played, ["hana"]);
        assert_eq!(cast.members[&QueueId(1)], [(AgentId(1), "hana".to_owned())]);
        assert_eq!(cast.members.len(), 1);
        assert!(who_is_who(&json!([]), &agents).is_err());
    }

    #[test]
    fn the_sample_tenant_has_what_the_demo_needs() {
        let file = TenantFile::parse("sample", SAMPLE, []).unwrap();
        let yours = file
            .queues
            .iter()
            .position(|queue| queue.name == YOURS)
            .expect("the queue") as u128
            + 1;
        let serve: Vec<&str> = file
            .agents
            .iter()
            .filter(|agent| agent.queues.keys().any(|queue| queue.0 == yours))
            .map(|agent| agent.name.as_str())
            .collect();
        assert_eq!(serve.len(), 1, "exactly one agent, the person's, serves it: {serve:?}");
        assert!(file.agents.iter().any(|agent| agent.supervisor));
        let classification = |customer: &str| {
            let situation = crate::rules::Situation {
                attributes: &Default::default(),
                channel: &crate::gateway::protocol::web_chat(),
                customer: &routing::ids::CustomerId(customer.to_owned()),
            };
            let classifier = crate::rules::Classifier::default();
            let wishes = crate::rules::Wishes::default();
            let classified = classifier.classify(&file.rules, file.fallback.as_ref(), situation, &wishes, 0);
            classified.unwrap().classification
        };
        assert_eq!(
            classification(super::super::VISITOR)
                .queues
                .first()
                .map(|queue| queue.0),
            Some(yours),
            "who comes by the page's link meets the person at the desk"
        );
        assert_ne!(
            classification("keiko 1").queues.first().map(|queue| queue.0),
            Some(yours)
        );
    }
}
