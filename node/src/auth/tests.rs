use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";
const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIGrD/e7uKYqSY4twDEsRfMMuLSrODf14dpTiTK6K1YI0
-----END PRIVATE KEY-----
";
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA2+Jj2UvNCvQiUPNYRgSi0cJSPiJI6Rs6D0UTeEpQVj8=
-----END PUBLIC KEY-----
";
const OURS: TenantId = TenantId(1);
const THEIRS: TenantId = TenantId(2);

fn verifier() -> Verifier {
    Verifier {
        audience: "kaiwa".to_owned(),
        issuers: Vec::new(),
        leeway_s: 0,
    }
}

fn lookup(kid: &str) -> Option<(TenantId, TenantKey)> {
    let key = |algorithm, material: &str| TenantKey {
        kid: kid.to_owned(),
        algorithm,
        material: material.to_owned(),
    };
    match kid {
        "hs" => Some((OURS, key(KeyAlgorithm::Hs256, SECRET))),
        "ed" => Some((OURS, key(KeyAlgorithm::EdDsa, PUBLIC_PEM))),
        "theirs" => Some((THEIRS, key(KeyAlgorithm::Hs256, OTHER_SECRET))),
        _ => None,
    }
}

fn grant() -> Grant {
    Grant {
        tenant: OURS,
        role: Role::Customer,
        subject: "ann".to_owned(),
        audience: "kaiwa".to_owned(),
        issuer: None,
        not_before_s: unix_now_s() - 10,
        expires_at_s: unix_now_s() + 600,
    }
}

fn hs(grant: &Grant) -> String {
    issue_token("hs", &SigningKey::Hs256(SECRET.to_owned()), grant).unwrap()
}

fn verify(token: &str) -> Result<Verified, AuthError> {
    verifier().verify(token, lookup)
}

/// A token of any header and claims, signed with HS256 and any secret.
fn forged(header: serde_json::Value, claims: serde_json::Value, secret: &[u8]) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> serde_json::Value {
    serde_json::json!({
        "sub": "ann", "tenant": OURS, "role": "customer", "aud": "kaiwa", "exp": unix_now_s() + 600,
    })
}

fn with(name: &str, value: serde_json::Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    forged(
        serde_json::json!({"alg": "HS256", "kid": "hs"}),
        claims,
        SECRET.as_bytes(),
    )
}

fn without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    forged(
        serde_json::json!({"alg": "HS256", "kid": "hs"}),
        claims,
        SECRET.as_bytes(),
    )
}

#[test]
fn tokens_of_both_algorithms_are_verified() {
    let verified = verify(&hs(&grant())).unwrap();
    assert_eq!(
        (verified.tenant, verified.role, verified.subject.as_str()),
        (OURS, Role::Customer, "ann")
    );
    assert_eq!(verified.agent, None);
    let agent = AgentId(7);
    let grant = Grant {
        role: Role::Supervisor,
        subject: agent.to_string(),
        ..grant()
    };
    let token = issue_token("ed", &SigningKey::EdDsa(PRIVATE_PEM.to_owned()), &grant).unwrap();
    let verified = verify(&token).unwrap();
    assert_eq!((verified.role, verified.agent), (Role::Supervisor, Some(agent)));
    assert_eq!(verified.expires_at_s, grant.expires_at_s);
}

#[test]
fn a_forged_token_of_the_right_kind_passes_so_that_the_others_fail_for_their_own_reason() {
    assert!(verify(&with("nbf", (unix_now_s() - 1).into())).is_ok());
}

#[test]
fn times_are_kept() {
    let now = unix_now_s();
    assert_eq!(
        verify(&hs(&Grant {
            expires_at_s: now - 2,
            ..grant()
        })),
        Err(AuthError::Expired)
    );
    let early = Grant {
        not_before_s: now + 60,
        ..grant()
    };
    assert_eq!(verify(&hs(&early)), Err(AuthError::NotYetValid));
    let lenient = Verifier {
        leeway_s: 120,
        ..verifier()
    };
    assert!(lenient.verify(&hs(&early), lookup).is_ok());
    assert_eq!(verify(&with("exp", "soon".into())), Err(AuthError::ClaimMissing("exp")));
    assert_eq!(verify(&with("nbf", "soon".into())), Err(AuthError::ClaimInvalid("nbf")));
}

#[test]
fn audience_and_issuer_are_kept() {
    let other = Grant {
        audience: "somebody".to_owned(),
        ..grant()
    };
    assert_eq!(verify(&hs(&other)), Err(AuthError::WrongAudience));
    let strict = Verifier {
        issuers: vec!["us".to_owned()],
        ..verifier()
    };
    assert_eq!(
        strict.verify(&hs(&grant()), lookup),
        Err(AuthError::ClaimMissing("iss"))
    );
    let them = Grant {
        issuer: Some("them".to_owned()),
        ..grant()
    };
    assert_eq!(strict.verify(&hs(&them), lookup), Err(AuthError::WrongIssuer));
    let us = Grant {
        issuer: Some("us".to_owned()),
        ..grant()
    };
    assert!(strict.verify(&hs(&us), lookup).is_ok());
}

#[test]
fn other_algorithms_are_refused() {
    for alg in ["none", "None", "HS384", "RS256", "ES256", ""] {
        let token = forged(
            serde_json::json!({"alg": alg, "kid": "hs"}),
            claims(),
            SECRET.as_bytes(),
        );
        assert_eq!(verify(&token), Err(AuthError::AlgorithmNotAllowed), "{alg}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(
            verify(&unsigned),
            Err(AuthError::AlgorithmNotAllowed),
            "{alg}, unsigned"
        );
    }
    let unsigned = hs(&grant());
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert_eq!(verify(&unsigned), Err(AuthError::BadSignature));
}

#[test]
fn a_public_key_is_no_secret() {
    for secret in [PUBLIC_PEM, PUBLIC_PEM.trim()] {
        let token = forged(
            serde_json::json!({"alg": "HS256", "kid": "ed"}),
            claims(),
            secret.as_bytes(),
        );
        assert_eq!(verify(&token), Err(AuthError::AlgorithmMismatch));
    }
    let token = issue_token("hs", &SigningKey::EdDsa(PRIVATE_PEM.to_owned()), &grant()).unwrap();
    assert_eq!(verify(&token), Err(AuthError::AlgorithmMismatch));
    let as_secret = TenantKey {
        kid: "k".to_owned(),
        algorithm: KeyAlgorithm::Hs256,
        material: PUBLIC_PEM.to_owned(),
    };
    assert_eq!(check_key(&as_secret), Err(KeyError::SecretIsPem));
}

#[test]
fn another_tenants_key_signs_nothing_of_ours() {
    let theirs = SigningKey::Hs256(OTHER_SECRET.to_owned());
    assert_eq!(
        verify(&issue_token("theirs", &theirs, &grant()).unwrap()),
        Err(AuthError::OtherTenant)
    );
    assert_eq!(
        verify(&issue_token("hs", &theirs, &grant()).unwrap()),
        Err(AuthError::BadSignature)
    );
    assert_eq!(
        verify(&issue_token("gone", &theirs, &grant()).unwrap()),
        Err(AuthError::UnknownKey)
    );
}

#[test]
fn every_claim_is_needed_and_checked() {
    for claim in ["sub", "tenant", "role", "aud", "exp"] {
        assert_eq!(verify(&without(claim)), Err(AuthError::ClaimMissing(claim)));
    }
    assert_eq!(
        verify(&with("tenant", "acme".into())),
        Err(AuthError::ClaimInvalid("tenant"))
    );
    assert_eq!(
        verify(&with("role", "admin".into())),
        Err(AuthError::ClaimInvalid("role"))
    );
    assert_eq!(verify(&with("role", 3.into())), Err(AuthError::ClaimInvalid("role")));
    assert_eq!(verify(&with("sub", "".into())), Err(AuthError::ClaimInvalid("sub")));
    assert_eq!(
        verify(&with("sub", "x".repeat(200).into())),
        Err(AuthError::ClaimInvalid("sub"))
    );
}

#[test]
fn garbage_is_refused() {
    assert_eq!(verify(""), Err(AuthError::Missing));
    assert_eq!(verify(&"x".repeat(TOKEN_MAX_BYTES + 1)), Err(AuthError::TooLong));
    for token in [
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "....",
        "e30.e30.e30",
        "é.é.é",
        "e30=.e30.e30",
    ] {
        assert!(
            matches!(verify(token), Err(AuthError::Malformed(_))),
            "{token}: {:?}",
            verify(token)
        );
    }
    let good = hs(&grant());
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        // The last character of a part may carry bits that decoding ignores or refuses; it never becomes another token.
        if let Ok(verified) = verify(&String::from_utf8(bytes).unwrap()) {
            assert_eq!((verified.tenant, verified.subject.as_str()), (OURS, "ann"));
        }
    }
    let header = serde_json::json!({"alg": "HS256"});
    assert_eq!(
        verify(&forged(header, claims(), SECRET.as_bytes())),
        Err(AuthError::KeyIdMissing)
    );
    let header = serde_json::json!({"alg": "HS256", "kid": "hs", "crit": ["exp"]});
    assert_eq!(
        verify(&forged(header, claims(), SECRET.as_bytes())),
        Err(AuthError::CriticalHeader)
    );
}

#[test]
fn keys_are_checked_before_they_are_saved() {
    let key = |kid: &str, algorithm, material: &str| TenantKey {
        kid: kid.to_owned(),
        algorithm,
        material: material.to_owned(),
    };
    assert_eq!(check_key(&key("a", KeyAlgorithm::Hs256, SECRET)), Ok(()));
    assert_eq!(check_key(&key("a", KeyAlgorithm::EdDsa, PUBLIC_PEM)), Ok(()));
    assert_eq!(
        check_key(&key("", KeyAlgorithm::Hs256, SECRET)),
        Err(KeyError::KidInvalid)
    );
    assert_eq!(
        check_key(&key("a b", KeyAlgorithm::Hs256, SECRET)),
        Err(KeyError::KidInvalid)
    );
    assert_eq!(
        check_key(&key("a", KeyAlgorithm::Hs256, "short")),
        Err(KeyError::SecretTooShort)
    );
    assert_eq!(
        check_key(&key("a", KeyAlgorithm::EdDsa, SECRET)),
        Err(KeyError::NotAnEd25519Pem("public"))
    );
    assert!(check_key(&key("a", KeyAlgorithm::EdDsa, PRIVATE_PEM)).is_err());
}

#[test]
fn admin_keys_are_told_apart() {
    let key = |name: &str, key: &str| AdminKey {
        name: name.to_owned(),
        key: key.to_owned(),
    };
    let keys = AdminKeys::new(&[key("ops", "0123456789abcdef"), key("ci", "fedcba9876543210")]);
    assert_eq!(keys.check("fedcba9876543210"), Ok("ci"));
    assert_eq!(keys.check("0123456789abcde"), Err(AuthError::UnknownAdminKey));
    assert_eq!(keys.check(""), Err(AuthError::Missing));
    assert_eq!(AdminKeys::new(&[]).check("x"), Err(AuthError::UnknownAdminKey));
    assert_eq!(format!("{keys:?}"), "[\"ops\", \"ci\"]");
}
