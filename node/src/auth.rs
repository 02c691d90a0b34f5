//! Who calls: tokens of customers, agents and supervisors, and keys of administrators.
//!
//! A token is a JWT. Its header names a key (`kid`); the key belongs to one tenant, has exactly one algorithm (HS256 or
//! EdDSA) and verifies tokens of that tenant alone. What the header says about the algorithm is compared with the key's,
//! never believed. Claims: `sub`, `tenant` (`ten_…`), `role` (`customer`, `agent`, `supervisor`), `aud`, `exp`, and, if
//! there, `nbf` and `iss`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use routing::ids::{AgentId, TenantId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{AdminKey, AuthSettings};
use crate::directory::{KeyAlgorithm, TenantKey};

/// Longest token, in bytes.
pub const TOKEN_MAX_BYTES: usize = 4 << 10;
/// Longest `kid`, in bytes.
pub const KID_MAX_BYTES: usize = 64;
/// Shortest shared secret, in bytes: as long as the digest.
pub const SECRET_MIN_BYTES: usize = 32;
/// Longest key material, in bytes.
pub const MATERIAL_MAX_BYTES: usize = 4 << 10;

/// What a token's bearer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A customer.
    Customer,
    /// An agent.
    Agent,
    /// An agent who oversees others.
    Supervisor,
}

impl Role {
    /// The word in tokens, labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Supervisor => "supervisor",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "customer" => Ok(Self::Customer),
            "agent" => Ok(Self::Agent),
            "supervisor" => Ok(Self::Supervisor),
            _ => Err(format!("`{text}` is no role: customer, agent or supervisor")),
        }
    }
}

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The tenant, by the key and the token alike.
    pub tenant: TenantId,
    /// The role.
    pub role: Role,
    /// The `sub`: a customer's id, or an agent's name or id.
    pub subject: String,
    /// The agent, where the `sub` is an id (`agt_…`); a name is looked up by the caller.
    pub agent: Option<AgentId>,
    /// When the token ends, Unix seconds. A socket closes then (1008).
    pub expires_at_s: u64,
}

/// Why a token, or an admin key, was refused. `reason` is stable; the text tells the caller nothing of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials at all.
    #[error("no token: send `Authorization: Bearer …`")]
    Missing,
    /// Longer than [`TOKEN_MAX_BYTES`].
    #[error("the token is longer than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    /// Not a JWT.
    #[error("the token is no JWT: {0}")]
    Malformed(&'static str),
    /// `alg` is neither HS256 nor EdDSA (`none` included).
    #[error("the token's algorithm is not allowed: HS256 and EdDSA are")]
    AlgorithmNotAllowed,
    /// `alg` is not that of the key.
    #[error("the token's algorithm is not that of its key")]
    AlgorithmMismatch,
    /// The header asks for extensions (`crit`).
    #[error("the token asks for extensions (`crit`) that are not understood")]
    CriticalHeader,
    /// No `kid`.
    #[error("the token's header names no key (`kid`)")]
    KeyIdMissing,
    /// No such key.
    #[error("the token's key (`kid`) is not known")]
    UnknownKey,
    /// The key in the directory cannot be used.
    #[error("the token's key cannot be used")]
    UnusableKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The key belongs to another tenant than the token says.
    #[error("the token's key belongs to another tenant")]
    OtherTenant,
    /// Past `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `aud` is another.
    #[error("the token is for another audience (`aud`)")]
    WrongAudience,
    /// `iss` is another.
    #[error("the token is from another issuer (`iss`)")]
    WrongIssuer,
    /// A claim is missing.
    #[error("the token lacks the claim `{0}`")]
    ClaimMissing(&'static str),
    /// A claim is there, but is not what it should be.
    #[error("the token's claim `{0}` is not what it should be")]
    ClaimInvalid(&'static str),
    /// The key of the admin API is not known.
    #[error("the API key is not known")]
    UnknownAdminKey,
    /// Valid, but the agent is not (or no longer) one of the tenant.
    #[error("the token's agent is not known")]
    UnknownAgent,
}

impl AuthError {
    /// Label of `kaiwa_auth_failures_total`, and detail of the problem document.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed(_) => "malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::CriticalHeader => "critical_header",
            Self::KeyIdMissing => "key_id_missing",
            Self::UnknownKey => "unknown_key",
            Self::UnusableKey => "unusable_key",
            Self::BadSignature => "bad_signature",
            Self::OtherTenant => "other_tenant",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::ClaimMissing(_) => "claim_missing",
            Self::ClaimInvalid(_) => "claim_invalid",
            Self::UnknownAdminKey => "unknown_admin_key",
            Self::UnknownAgent => "unknown_agent",
        }
    }
}

/// Verifies tokens. Cheap to make; holds no keys.
#[derive(Clone, Debug)]
pub struct Verifier {
    audience: String,
    issuers: Vec<String>,
    leeway_s: u64,
}

/// Only what decides which key to take; the rest of the header is not believed.
#[derive(Deserialize)]
struct HeaderClaims {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

type Claims = serde_json::Map<String, serde_json::Value>;

impl Verifier {
    /// By the settings.
    pub fn new(settings: &AuthSettings) -> Self {
        Self {
            audience: settings.audience.clone(),
            issuers: settings.issuers.clone(),
            leeway_s: settings.leeway_s,
        }
    }

    /// Verifies a token. `lookup` gives the key of a `kid` and the tenant that owns it
    /// ([`crate::engine::Engine::tenant_key`]).
    pub fn verify(
        &self,
        token: &str,
        lookup: impl Fn(&str) -> Option<(TenantId, TenantKey)>,
    ) -> Result<Verified, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_MAX_BYTES {
            return Err(AuthError::TooLong);
        }
        let header = header_of(token)?;
        let algorithm = match header.alg.as_str() {
            "HS256" => KeyAlgorithm::Hs256,
            "EdDSA" => KeyAlgorithm::EdDsa,
            _ => return Err(AuthError::AlgorithmNotAllowed),
        };
        if header.crit.is_some() {
            return Err(AuthError::CriticalHeader);
        }
        let kid = header.kid.filter(|kid| !kid.is_empty() && kid.len() <= KID_MAX_BYTES);
        let (owner, key) = lookup(&kid.ok_or(AuthError::KeyIdMissing)?).ok_or(AuthError::UnknownKey)?;
        if key.algorithm != algorithm {
            return Err(AuthError::AlgorithmMismatch);
        }
        let verifying = verifying_key(&key).map_err(|_| AuthError::UnusableKey)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, &verifying, &self.validation(key.algorithm));
        let claims = decoded.map_err(|error| refusal(error.kind()))?.claims;
        self.verified(owner, &claims)
    }

    fn validation(&self, algorithm: KeyAlgorithm) -> Validation {
        let mut validation = Validation::new(jwt_algorithm(algorithm));
        validation.leeway = self.leeway_s;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        let mut required = vec!["exp", "aud", "sub"];
        if !self.issuers.is_empty() {
            validation.set_issuer(&self.issuers);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    fn verified(&self, owner: TenantId, claims: &Claims) -> Result<Verified, AuthError> {
        let tenant: TenantId = text(claims, "tenant")?
            .parse()
            .map_err(|_| AuthError::ClaimInvalid("tenant"))?;
        if tenant != owner {
            return Err(AuthError::OtherTenant);
        }
        let role: Role = text(claims, "role")?
            .parse()
            .map_err(|_| AuthError::ClaimInvalid("role"))?;
        let subject = text(claims, "sub")?;
        if subject.is_empty() || subject.len() > routing::limits::CUSTOMER_MAX_BYTES {
            return Err(AuthError::ClaimInvalid("sub"));
        }
        let expires_at_s = claims
            .get("exp")
            .and_then(|exp| exp.as_u64().or(exp.as_f64().map(|s| s as u64)));
        let agent = if role == Role::Customer {
            None
        } else {
            subject.parse().ok()
        };
        Ok(Verified {
            tenant,
            role,
            subject: subject.to_owned(),
            agent,
            expires_at_s: expires_at_s.ok_or(AuthError::ClaimInvalid("exp"))?,
        })
    }
}

fn header_of(token: &str) -> Result<HeaderClaims, AuthError> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(AuthError::Malformed("it has three parts, separated by dots"));
    };
    let json = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| AuthError::Malformed("its header is not base64url"))?;
    serde_json::from_slice(&json).map_err(|_| AuthError::Malformed("its header is not the JSON of one"))
}

fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, AuthError> {
    claims
        .get(name)
        .ok_or(AuthError::ClaimMissing(name))?
        .as_str()
        .ok_or(AuthError::ClaimInvalid(name))
}

fn refusal(kind: &ErrorKind) -> AuthError {
    let known = |name: &str| {
        ["exp", "nbf", "aud", "iss", "sub"]
            .into_iter()
            .find(|known| *known == name)
    };
    match kind {
        ErrorKind::InvalidSignature => AuthError::BadSignature,
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYetValid,
        ErrorKind::InvalidAudience => AuthError::WrongAudience,
        ErrorKind::InvalidIssuer => AuthError::WrongIssuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => AuthError::AlgorithmMismatch,
        ErrorKind::MissingRequiredClaim(name) => AuthError::ClaimMissing(known(name).unwrap_or("?")),
        ErrorKind::InvalidClaimFormat(name) => AuthError::ClaimInvalid(known(name).unwrap_or("?")),
        ErrorKind::InvalidEddsaKey | ErrorKind::InvalidKeyFormat => AuthError::UnusableKey,
        _ => AuthError::Malformed("its payload or signature cannot be read"),
    }
}

fn jwt_algorithm(algorithm: KeyAlgorithm) -> Algorithm {
    match algorithm {
        KeyAlgorithm::Hs256 => Algorithm::HS256,
        KeyAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn verifying_key(key: &TenantKey) -> Result<DecodingKey, KeyError> {
    match key.algorithm {
        KeyAlgorithm::Hs256 if key.material.len() < SECRET_MIN_BYTES => Err(KeyError::SecretTooShort),
        // A shared secret that is a public key was meant for the other algorithm: anybody could sign with it.
        KeyAlgorithm::Hs256 if key.material.contains("-----BEGIN") => Err(KeyError::SecretIsPem),
        KeyAlgorithm::Hs256 => Ok(DecodingKey::from_secret(key.material.as_bytes())),
        KeyAlgorithm::EdDsa => {
            DecodingKey::from_ed_pem(key.material.as_bytes()).map_err(|_| KeyError::NotAnEd25519Pem("public"))
        }
    }
}

/// Why a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// `kid` is empty or too long.
    #[error("a `kid` has 1 to {KID_MAX_BYTES} bytes, of letters, digits, `-`, `_` and `.`")]
    KidInvalid,
    /// Too long.
    #[error("key material has at most {MATERIAL_MAX_BYTES} bytes")]
    MaterialTooLong,
    /// HS256.
    #[error("a secret for HS256 has at least {SECRET_MIN_BYTES} bytes")]
    SecretTooShort,
    /// HS256 with a PEM file.
    #[error("this is a PEM file, not a secret for HS256; is `EdDSA` meant?")]
    SecretIsPem,
    /// EdDSA.
    #[error("a key for EdDSA is an Ed25519 {0} key in PEM")]
    NotAnEd25519Pem(&'static str),
    /// Signing failed.
    #[error("the token could not be signed: {0}")]
    Signing(String),
}

/// Checks a tenant's key before it is saved.
pub fn check_key(key: &TenantKey) -> Result<(), KeyError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.kid.is_empty() || key.kid.len() > KID_MAX_BYTES || !key.kid.chars().all(fits) {
        return Err(KeyError::KidInvalid);
    }
    if key.material.len() > MATERIAL_MAX_BYTES {
        return Err(KeyError::MaterialTooLong);
    }
    verifying_key(key).map(|_| ())
}

/// What signs a token. Its `Debug` does not show it.
#[derive(Clone)]
pub enum SigningKey {
    /// The shared secret.
    Hs256(String),
    /// The private key, PEM (PKCS#8).
    EdDsa(String),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hs256(_) => "SigningKey(HS256, redacted)",
            Self::EdDsa(_) => "SigningKey(EdDSA, redacted)",
        })
    }
}

/// What a new token says.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose.
    pub tenant: TenantId,
    /// As what.
    pub role: Role,
    /// Who.
    pub subject: String,
    /// For whom.
    pub audience: String,
    /// By whom.
    pub issuer: Option<String>,
    /// From when, Unix seconds.
    pub not_before_s: u64,
    /// Until when, Unix seconds.
    pub expires_at_s: u64,
}

/// Signs a token: for tests, the demo and `kaiwa token issue`. Tenants sign their own.
pub fn issue_token(kid: &str, key: &SigningKey, grant: &Grant) -> Result<String, KeyError> {
    let (algorithm, signing) = match key {
        SigningKey::Hs256(secret) => (Algorithm::HS256, EncodingKey::from_secret(secret.as_bytes())),
        SigningKey::EdDsa(pem) => {
            let key = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(|_| KeyError::NotAnEd25519Pem("private"))?;
            (Algorithm::EdDSA, key)
        }
    };
    let mut header = Header::new(algorithm);
    header.kid = Some(kid.to_owned());
    let mut claims = serde_json::json!({
        "sub": grant.subject,
        "tenant": grant.tenant,
        "role": grant.role,
        "aud": grant.audience,
        "nbf": grant.not_before_s,
        "exp": grant.expires_at_s,
    });
    if let Some(issuer) = &grant.issuer {
        claims["iss"] = issuer.clone().into();
    }
    jsonwebtoken::encode(&header, &claims, &signing).map_err(|error| KeyError::Signing(error.to_string()))
}

/// Seconds since the Unix epoch.
pub fn unix_now_s() -> u64 {
    crate::wall_clock::now_ms() / 1_000
}

/// Keys of the admin API, as digests: they are compared in constant time, whatever their length.
#[derive(Clone)]
pub struct AdminKeys {
    digests: Vec<(String, [u8; 32])>,
}

impl fmt::Debug for AdminKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.digests.iter().map(|(name, _)| name))
            .finish()
    }
}

impl AdminKeys {
    /// By the settings.
    pub fn new(keys: &[AdminKey]) -> Self {
        let digest = |key: &AdminKey| (key.name.clone(), Sha256::digest(key.key.as_bytes()).into());
        Self {
            digests: keys.iter().map(digest).collect(),
        }
    }

    /// Name of the key that was presented. Every key is looked at, so that the time tells nothing.
    pub fn check(&self, presented: &str) -> Result<&str, AuthError> {
        if presented.is_empty() {
            return Err(AuthError::Missing);
        }
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let mut found = None;
        for (name, known) in &self.digests {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(name.as_str());
            }
        }
        found.ok_or(AuthError::UnknownAdminKey)
    }
}

#[cfg(test)]
mod tests;
