//! `kaiwa-bench`: what a cluster of real processes can do, from outside; and whether the routing core does what theory says.

mod messages;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load on a cluster of real processes, and simulations of the routing core.
#[derive(Debug, Parser)]
#[command(name = "kaiwa-bench", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages both ways between customers and agents over WebSocket, on three nodes on this machine
    Messages(messages::MessagesArgs),
    /// The routing core on virtual time, against exact results of queueing theory
    Sim(sim::SimArgs),
}

fn main() -> ExitCode {
    let good = match Cli::parse().command {
        Command::Messages(args) => messages::run(&args),
        Command::Sim(args) => sim::run(&args),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kaiwa-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
