//! The binary `kaiwa`. Its commands are in [`node::cli`].

fn main() -> std::process::ExitCode {
    node::cli::main()
}
