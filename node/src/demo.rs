//! `kaiwa demo`: three nodes on loopback, a sample tenant, simulated customers and agents, and a page that shows it all.

use std::path::PathBuf;
use std::time::Duration;

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

/// Runs a demo until Ctrl-C (`Ok`), or for the time that was asked for; an error when anything was lost or nothing happened.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let _ = options;
    anyhow::bail!("the demo is not built yet")
}
