//! The Edge row of the metrics, as the gateway reports it.

use metrics::{counter, gauge, histogram};

pub(super) fn connection_opened(role: &'static str) {
    counter!("kaiwa_connections_opened_total").increment(1);
    gauge!("kaiwa_connections", "role" => role, "transport" => "websocket").increment(1.0);
}

pub(super) fn connection_closed(role: &'static str, reason: &'static str) {
    gauge!("kaiwa_connections", "role" => role, "transport" => "websocket").decrement(1.0);
    counter!("kaiwa_connections_closed_total", "reason" => reason).increment(1);
}

pub(super) fn message_in(role: &'static str) {
    counter!("kaiwa_messages_total", "direction" => "in", "role" => role).increment(1);
}

/// `at_ms` is the log's stamp: clocks of two machines are compared, so this is as exact as they agree.
pub(super) fn message_out(role: &'static str, at_ms: u64, now_ms: u64) {
    counter!("kaiwa_messages_total", "direction" => "out", "role" => role).increment(1);
    histogram!("kaiwa_message_delivery_seconds").record(now_ms.saturating_sub(at_ms) as f64 / 1_000.0);
}

pub(super) fn command_acknowledged(repeated: bool) {
    if repeated {
        counter!("kaiwa_messages_redelivered_total").increment(1);
    }
}

pub(super) fn outbound_pending(bytes_more: f64) {
    gauge!("kaiwa_outbound_pending_bytes").increment(bytes_more);
}

pub(super) fn slow_consumer(kind: &'static str) {
    counter!("kaiwa_slow_consumer_disconnects_total", "kind" => kind).increment(1);
}

pub(super) fn rate_limited(limit: &'static str) {
    counter!("kaiwa_rate_limited_total", "limit" => limit).increment(1);
}

pub(super) fn frame_rejected(reason: &'static str) {
    counter!("kaiwa_frames_rejected_total", "reason" => reason).increment(1);
}

pub(super) fn auth_failed(reason: &'static str) {
    counter!("kaiwa_auth_failures_total", "reason" => reason).increment(1);
}
