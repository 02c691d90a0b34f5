//! The commented file that `kaiwa config default` prints, and the reference document.

use std::fmt::Write;

use super::settings::{SECTIONS, SETTINGS, Setting};

/// A complete, commented configuration file. What has no default is there as a comment, or as an example where it is
/// needed, so the file works as it is on one machine.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Configuration of a kaiwa node. Each setting may be overridden by a variable: KAIWA_<SECTION>__<KEY>,\n\
         # for example KAIWA_NODE__ID=2. `kaiwa config check FILE` reports everything that is wrong.\n",
    );
    for (section, doc) in SECTIONS {
        let _ = write!(text, "\n# {doc}\n[{section}]\n");
        for setting in SETTINGS.iter().filter(|setting| setting.section == *section) {
            let _ = writeln!(text);
            for line in wrapped(setting.doc, 110) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "# {}.", sentence(&setting.kind.wanted()));
            let (mark, value) = shown(setting);
            let _ = writeln!(text, "{mark}{} = {value}", setting.key);
        }
    }
    text
}

/// `ops/configuration.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Generated from the table in `node/src/config/settings.rs` ; a test compares the two.\n\n\
         One TOML file per node. Each setting may be overridden by an environment variable, `KAIWA_<SECTION>__<KEY>`\n\
         (`KAIWA_NODE__ID=2`); lists are separated by commas there. `kaiwa config default` prints a complete commented\n\
         file, `kaiwa config check FILE` reports every mistake at once.\n",
    );
    for (section, doc) in SECTIONS {
        let _ = write!(
            text,
            "\n## [{section}]\n\n{doc}\n\n| Key | Kind | Default | What it is for |\n|---|---|---|---|\n"
        );
        for setting in SETTINGS.iter().filter(|setting| setting.section == *section) {
            let default = match (setting.needed, setting.default) {
                (true, _) => "needed".to_owned(),
                (false, "") => "–".to_owned(),
                (false, default) => format!("`{default}`"),
            };
            let kind = setting.kind.wanted().replace('|', "\\|");
            let _ = writeln!(
                text,
                "| `{}` | {kind} | {default} | {} |",
                setting.key,
                setting.doc.replace('|', "\\|")
            );
        }
    }
    text
}

fn shown(setting: &Setting) -> (&'static str, &'static str) {
    match (setting.path().as_str(), setting.default) {
        ("node.id", _) => ("", "1"),
        ("node.data_dir", _) => ("", "\"./data/node-1\""),
        ("tls.authority", _) => ("", "\"./certs/ca.pem\""),
        ("tls.certificate", _) => ("", "\"./certs/node-1.pem\""),
        ("tls.key", _) => ("", "\"./certs/node-1.key\""),
        ("node.cluster_advertise", _) => ("# ", "\"10.0.0.1:7000\""),
        ("node.api_advertise", _) => ("# ", "\"https://chat-1.example\""),
        (_, default) => ("", default),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
