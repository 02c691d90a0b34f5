//! The command line. Errors are for people: what went wrong and what to do, no backtrace. Exit codes: 0 done, 1 refused
//! or failed, 2 wrong usage or a file with mistakes, 3 nobody answers, 4 the storage of a node has failed.

mod admin;
mod cluster;
mod policy;
mod replay;
mod report;
mod status;
pub(crate) mod tenant;
mod token;
mod why;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigErrors, NodeConfig, reference};
use crate::demo::DemoOptions;
use crate::server::{StorageFailed, Until};
use crate::tenant_file::TenantFileErrors;
use crate::toml_input::duration_ms;

/// A distributed routing cluster for live chat.
#[derive(Debug, Parser)]
#[command(name = "kaiwa", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a cluster on this machine with a sample tenant, and prints where to look
    Demo(DemoArgs),
    /// Runs one node
    Serve(ServeArgs),
    /// Makes a cluster, looks at it, changes it
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Checks or prints configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Checks, compares, changes and shows what decides routing
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Checks, loads or shows a tenant
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Runs what has happened again, under another policy
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// KPIs of a period or of this moment: service levels, waits, handling, occupancy, …
    Report(report::ReportArgs),
    /// Signs tokens for customers and agents
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Says why a conversation went to whom it went, or why it still waits
    Why(why::WhyArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Empties the folder first
    #[arg(long)]
    fresh: bool,
    /// Folder for everything that the demo keeps
    #[arg(long, value_name = "DIR", default_value_os_t = DemoOptions::default().data)]
    data: PathBuf,
    /// First port; node n uses N + n, N + 100 + n and N + 200 + n
    #[arg(long, value_name = "N", default_value_t = DemoOptions::default().port_base)]
    port_base: u16,
    /// Runs for so long, then stops and accounts for everything (`30s`, `5m`)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    for_: Option<Duration>,
    /// Nodes
    #[arg(long, value_name = "N", default_value_t = DemoOptions::default().nodes)]
    nodes: u64,
    /// Simulated customers that come per minute; 0 for none
    #[arg(long, value_name = "N", default_value_t = DemoOptions::default().customers_per_minute)]
    customers_per_minute: u32,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file; `kaiwa config default` prints one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stops when standard input closes: for a process that starts nodes and may be killed
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Reports everything that is wrong with a file (and with the environment over it)
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Prints a complete, commented file
    Default,
    /// Prints the reference of all settings, in Markdown
    Reference,
}

fn duration(text: &str) -> Result<Duration, String> {
    let ms = duration_ms(text).ok_or("a duration is written like 30s, 5m or 1h30m")?;
    Ok(Duration::from_millis(ms))
}

/// How long work on other threads may take after everything else has ended.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The tenant file has mistakes.
    #[error("{0}")]
    TenantFile(#[from] TenantFileErrors),
    /// The arguments do not fit each other, or a file cannot be read.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The node refused.
    #[error("{0}")]
    Refused(admin::Refusal),
    /// The disk of a node has failed under it.
    #[error("{0}")]
    Storage(#[from] StorageFailed),
    /// Anything else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Failed(_) => 1,
            Self::Config(_) | Self::TenantFile(_) | Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Storage(_) => 4,
        }
    }
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "kaiwa: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Demo(args) => demo(args),
        Command::Serve(args) => serve(args),
        Command::Cluster(command) => cluster::run(command),
        Command::Config(command) => config(command),
        Command::Policy(command) => policy::run(command),
        Command::Tenant(command) => tenant::run(command),
        Command::Replay(command) => replay::run(command),
        Command::Report(args) => report::run(&args),
        Command::Token(command) => token::run(command),
        Command::Why(args) => block_on(why::run(&args))?,
    }
}

fn demo(args: DemoArgs) -> Result<(), CliError> {
    let DemoArgs {
        fresh,
        data,
        port_base,
        for_,
        nodes,
        customers_per_minute,
    } = args;
    let options = DemoOptions {
        fresh,
        data,
        port_base,
        for_,
        nodes,
        customers_per_minute,
    };
    Ok(block_on(crate::demo::run(options))??)
}

fn serve(args: ServeArgs) -> Result<(), CliError> {
    let config = NodeConfig::load(&args.config)?;
    crate::logging::install(&config.log).map_err(anyhow::Error::from)?;
    // Gone, and every fail point with it, when the node has stopped.
    let _failpoints = fail::has_failpoints().then(|| {
        tracing::warn!("this build has fail points: faults can be put into it. It is for tests alone");
        fail::FailScenario::setup()
    });
    let until = Until {
        stdin_closes: args.until_stdin_closes,
    };
    let ended = block_on(crate::server::run(config, until))?;
    ended.map_err(|error| match error.downcast() {
        Ok(failed) => CliError::Storage(failed),
        Err(error) => CliError::Failed(error),
    })
}

fn config(command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check { file } => {
            let config = NodeConfig::load(&file)?;
            say(&format!("{}: right, for node {}", file.display(), config.node.id));
            if config.tls.is_none() {
                say("note: the links between nodes are plaintext (`insecure_plaintext = true`)");
            }
            if config.auth.admin_keys.is_empty() {
                say("note: there is no admin key, so the admin API will refuse every call");
            }
        }
        ConfigCommand::Default => say(reference::default_file().trim_end()),
        ConfigCommand::Reference => say(reference::document().trim_end()),
    }
    Ok(())
}

/// A line to standard output. A reader who has gone away is no error.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The same, of what programs read.
fn say_json(what: &impl serde::Serialize) -> Result<(), CliError> {
    say(&serde_json::to_string_pretty(what).map_err(anyhow::Error::from)?);
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(anyhow::Error::from)?;
    let result = runtime.block_on(future);
    // What still waits for a disk that failed is not waited for.
    runtime.shutdown_timeout(END_PATIENCE);
    Ok(result)
}

fn read_file(path: &std::path::Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests;
