//! `kaiwa-bench`: what a cluster of real processes can do, from outside.

mod messages;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load on a cluster of real processes.
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
}

fn main() -> ExitCode {
    let Command::Messages(args) = Cli::parse().command;
    match messages::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kaiwa-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
