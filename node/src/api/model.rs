//! What travels as JSON: snake_case mirrors of routing's types, with their conversions. Unknown fields are refused.
//!
//! Enumerations are written as routing's own serde writes them: `"none"`, or one field that names the variant
//! (`{"timed": {"length_ms": 1}}`).

pub mod conversation;
pub mod entry;
pub mod person;
pub mod report;
pub mod settings;
pub mod why;

use routing::ids::QueueId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A queue's id (`que_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "que_0192e4a5b6c77d8e9f00112233445566")]
pub struct QueueRef(pub QueueId);
