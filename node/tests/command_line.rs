//! The binary's commands that need no cluster: output, errors, exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn kaiwa(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kaiwa"))
        .args(arguments)
        .env_remove("KAIWA_ADMIN_KEY")
        .env_remove("KAIWA_ADMIN_URL")
        .output()
        .expect("the binary runs")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_default_configuration_is_printed_and_passes_its_own_check() {
    let printed = kaiwa(&["config", "default"]);
    assert_eq!(code(&printed), Some(0));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let checked = kaiwa(&["config", "check", file.to_str().unwrap()]);
    assert_eq!(code(&checked), Some(0), "{}", err(&checked));
    assert!(out(&checked).contains("right, for node 1"));
}

#[test]
fn mistakes_are_listed_and_the_exit_code_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "[node]\nidd = 1\n[lgo]\n").unwrap();
    for arguments in [["config", "check"].as_slice(), &["serve", "--config"]] {
        let refused = kaiwa(&[arguments, &[file.to_str().unwrap()]].concat());
        assert_eq!(code(&refused), Some(2));
        let text = err(&refused);
        for expected in ["did you mean `id`?", "did you mean `log`?", "`node.data_dir`: missing"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
    }
    assert_eq!(code(&kaiwa(&["config", "check", "/nowhere.toml"])), Some(2));
}

#[test]
fn nobody_there_and_no_key_are_told_apart() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let without = kaiwa(&["cluster", "status", "--admin", &url]);
    assert_eq!(code(&without), Some(2), "{}", err(&without));
    assert!(err(&without).contains("KAIWA_ADMIN_KEY"));
    let silent = kaiwa(&["cluster", "status", "--admin", &url, "--key", "0123456789abcdef"]);
    assert_eq!(code(&silent), Some(3), "{}", err(&silent));
    assert!(err(&silent).contains("does not answer") && !err(&silent).contains("0123456789abcdef"));
}

#[test]
fn the_sample_tenant_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/demo-tenant.toml");
    let checked = kaiwa(&["tenant", "check", file.to_str().unwrap()]);
    assert_eq!(code(&checked), Some(0), "{}", err(&checked));
    assert!(out(&checked).contains("supervisor hana"), "{}", out(&checked));
}

#[test]
fn certificates_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let arguments = [
        "cluster",
        "certs",
        "--dir",
        certs.to_str().unwrap(),
        "--node",
        "1",
        "--node",
        "2=127.0.0.1",
    ];
    let made = kaiwa(&arguments);
    assert_eq!(code(&made), Some(0), "{}", err(&made));
    for name in [
        "ca.pem",
        "ca.key",
        "node-1.pem",
        "node-1.key",
        "node-2.pem",
        "node-2.key",
    ] {
        assert!(certs.join(name).exists(), "{name}");
    }
    let again = kaiwa(&arguments);
    assert_eq!(code(&again), Some(1));
    assert!(err(&again).contains("is not overwritten"), "{}", err(&again));
}

#[test]
fn a_token_is_signed_with_a_secret_from_a_variable() {
    let issued = Command::new(env!("CARGO_BIN_EXE_kaiwa"))
        .args([
            "token",
            "issue",
            "--tenant",
            "ten_00000000000000000000000000000001",
            "--role",
            "agent",
        ])
        .args(["--sub", "aiko", "--kid", "k", "--secret-env", "SECRET_OF_THE_TEST"])
        .env("SECRET_OF_THE_TEST", "0123456789abcdef0123456789abcdef")
        .output()
        .unwrap();
    assert_eq!(code(&issued), Some(0), "{}", err(&issued));
    assert_eq!(out(&issued).trim().split('.').count(), 3);
    let tenant = "ten_00000000000000000000000000000001";
    let missing = [
        "token",
        "issue",
        "--tenant",
        tenant,
        "--role",
        "agent",
        "--sub",
        "a",
        "--kid",
        "k",
        "--secret-env",
    ];
    let refused = kaiwa(&[missing.as_slice(), &["NOT_SET_ANYWHERE"]].concat());
    assert_eq!(code(&refused), Some(2));
    assert!(err(&refused).contains("NOT_SET_ANYWHERE is not set"));
}
