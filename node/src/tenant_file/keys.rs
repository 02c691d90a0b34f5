//! `[[key]]`.

use std::collections::BTreeMap;

use crate::auth::check_key;
use crate::directory::{KeyAlgorithm, TenantKey};
use crate::toml_input::{Mistakes, Place, Reader, suggestion};

pub(super) fn read(
    mut reader: Reader<'_>,
    environment: &BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) -> Option<TenantKey> {
    let kid = reader.needed_text("kid", mistakes);
    let algorithm = match reader.needed_text("algorithm", mistakes) {
        Some("HS256") => Some(KeyAlgorithm::Hs256),
        Some("EdDSA") => Some(KeyAlgorithm::EdDsa),
        Some(other) => {
            let wrong = format!("{other:?} is no algorithm");
            reader.wrong("algorithm", mistakes, wrong, suggestion(other, ["HS256", "EdDSA"]));
            None
        }
        None => None,
    };
    let given = [
        reader.text("secret", mistakes).map(str::to_owned),
        reader.text("public_key", mistakes).map(str::to_owned),
        reader.text("secret_env", mistakes).and_then(|variable| {
            let value = environment.get(variable).cloned();
            if value.is_none() {
                reader.wrong(
                    "secret_env",
                    mistakes,
                    format!("the variable {variable} is not set"),
                    "set it",
                );
            }
            value
        }),
    ];
    let line = reader.line();
    let key = kid.zip(algorithm).and_then(|(kid, algorithm)| {
        let mut materials = given.into_iter().flatten();
        match (materials.next(), materials.next()) {
            (Some(material), None) => Some(TenantKey {
                kid: kid.to_owned(),
                algorithm,
                material,
            }),
            _ => {
                let right = "HS256 needs `secret` or `secret_env`, EdDSA `public_key` (PEM)";
                mistakes.add(Place::Line(line), "key", "a key has exactly one material", right);
                None
            }
        }
    });
    if let Some(Err(error)) = key.as_ref().map(check_key) {
        mistakes.add(Place::Line(line), "key", error.to_string(), "");
    }
    reader.finish(mistakes);
    key
}
