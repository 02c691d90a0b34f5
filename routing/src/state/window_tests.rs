use super::*;

fn receipt(number: u64) -> Receipt {
    Receipt {
        at_ms: number,
        seq: Some(number),
        ..Receipt::default()
    }
}

#[test]
fn a_number_is_answered_forgotten_or_new() {
    let mut window = Window::default();
    let count = limits::IDEMPOTENCY_WINDOW as u64;
    for number in 0..count + 3 {
        assert_eq!(window.answer(number), Ok(None), "new");
        window.remember(number, &receipt(number), number);
    }
    assert_eq!(
        window.answer(2),
        Err(Rejection::TooOld { number: 2 }),
        "the three first are forgotten"
    );
    for number in 3..count + 3 {
        assert_eq!(
            window.answer(number),
            Ok(Some(Receipt {
                repeated: true,
                ..receipt(number)
            }))
        );
    }
    assert_eq!(window.len(), limits::IDEMPOTENCY_WINDOW);
}

#[test]
fn numbers_may_come_out_of_order_within_the_window() {
    let mut window = Window::default();
    for number in [5, 3, 4] {
        window.remember(number, &receipt(number), 0);
    }
    assert_eq!(window.answer(4).unwrap().unwrap().seq, Some(4));
    assert_eq!(
        window.answer(1),
        Ok(None),
        "nothing was forgotten, so it cannot have been applied"
    );
}

#[test]
fn a_window_is_kept_for_a_day() {
    let mut window = Window::default();
    window.remember(1, &receipt(1), 1_000);
    assert!(!window.unused_at(1_000 + limits::IDEMPOTENCY_KEPT_MS - 1));
    assert!(window.unused_at(1_000 + limits::IDEMPOTENCY_KEPT_MS));
}
