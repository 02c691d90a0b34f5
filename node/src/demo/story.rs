//! Who comes, with what, and what is said: enough of it that no sentence is said twice in a conversation.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::gateway::protocol::Attribute;

/// A language of the sample tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
    /// German.
    German,
}

/// A customer before they come.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Unique.
    pub name: String,
    /// What the rules look at.
    pub attributes: BTreeMap<String, Attribute>,
    /// What they will say, in order, the first with their coming.
    pub lines: Vec<&'static str>,
    /// What they say when it has become quiet.
    pub still_there: &'static str,
    /// What they say at the end.
    pub thanks: &'static str,
}

const NAMES: [&str; 18] = [
    "Akira", "Beatriz", "Carlos", "Dilnoza", "Emi", "Farid", "Giulia", "Haruto", "Ines", "Jonas", "Keiko", "Leila",
    "Mehmet", "Nadia", "Oskar", "Priya", "Rosa", "Sota",
];

struct Topic {
    name: &'static str,
    english: &'static [&'static str],
    japanese: &'static [&'static str],
    german: &'static [&'static str],
}

const TOPICS: [Topic; 4] = [
    Topic {
        name: "support",
        english: &[
            "Hello, my kettle switches itself off after ten seconds.",
            "Yes, I have cleaned it. It is the blue one.",
            "It began yesterday evening.",
            "The lamp blinks three times.",
            "Now it stays on!",
        ],
        japanese: &[
            "こんにちは。ケトルが十秒で切れてしまいます。",
            "はい、掃除しました。青いモデルです。",
            "昨日の夜からです。",
            "ランプが三回点滅します。",
            "あ、動きました!",
        ],
        german: &[
            "Guten Tag, mein Wasserkocher geht nach zehn Sekunden aus.",
            "Ja, entkalkt habe ich ihn. Es ist der blaue.",
            "Seit gestern Abend.",
            "Die Lampe blinkt dreimal.",
            "Jetzt bleibt er an!",
        ],
    },
    Topic {
        name: "billing",
        english: &[
            "I was charged twice for my order.",
            "The number is 20431.",
            "Both on the same day, yes.",
            "Into the same account, please.",
        ],
        japanese: &[
            "同じ注文で二回請求されました。",
            "番号は20431です。",
            "はい、同じ日です。",
            "同じ口座にお願いします。",
        ],
        german: &[
            "Meine Bestellung wurde zweimal abgebucht.",
            "Die Nummer ist 20431.",
            "Beide am selben Tag, ja.",
            "Auf dasselbe Konto, bitte.",
        ],
    },
    Topic {
        name: "product",
        english: &[
            "Is the large teapot dishwasher-safe?",
            "And does the lid stay on while pouring?",
            "How long is delivery?",
            "Do you have it in green?",
        ],
        japanese: &[
            "大きい急須は食洗機で洗えますか?",
            "注ぐとき、ふたは外れませんか?",
            "配送は何日くらいですか?",
            "緑色はありますか?",
        ],
        german: &[
            "Darf die große Teekanne in die Spülmaschine?",
            "Und hält der Deckel beim Gießen?",
            "Wie lange dauert die Lieferung?",
            "Gibt es sie in Grün?",
        ],
    },
    Topic {
        name: "order",
        english: &[
            "I would like twelve cups for a wedding.",
            "By the end of the month.",
            "With an engraving, if that is possible.",
            "The names are on their way by mail.",
        ],
        japanese: &[
            "結婚式用にカップを十二個お願いしたいです。",
            "今月末までに。",
            "できれば名入れで。",
            "名前はメールで送ります。",
        ],
        german: &[
            "Ich hätte gern zwölf Tassen für eine Hochzeit.",
            "Bis Ende des Monats.",
            "Mit Gravur, wenn es geht.",
            "Die Namen schicke ich per Mail.",
        ],
    },
];

/// Somebody new. `number` makes the name unique.
pub fn visitor(number: u64, run: u32, rng: &mut impl Rng) -> Visitor {
    let name = NAMES.choose(rng).unwrap_or(&NAMES[0]);
    let topic = TOPICS.choose(rng).unwrap_or(&TOPICS[0]);
    let (language, code) = match rng.random_range(0..10) {
        0..5 => (Language::English, "en"),
        5..8 => (Language::Japanese, "ja"),
        _ => (Language::German, "de"),
    };
    let lines = match language {
        Language::English => topic.english,
        Language::Japanese => topic.japanese,
        Language::German => topic.german,
    };
    let thanks = match language {
        Language::English => "Thank you, that is all!",
        Language::Japanese => "ありがとうございました。",
        Language::German => "Vielen Dank, das war alles!",
    };
    let still_there = match language {
        Language::English => "Are you still there?",
        Language::Japanese => "まだいらっしゃいますか?",
        Language::German => "Sind Sie noch da?",
    };
    let text = |text: &str| Attribute::Text(text.to_owned());
    let mut attributes = BTreeMap::from([
        ("topic".to_owned(), text(topic.name)),
        ("language".to_owned(), text(code)),
        ("vip".to_owned(), Attribute::Bool(rng.random_range(0..12) == 0)),
    ]);
    if topic.name == "order" {
        let total = rng.random_range(40..400);
        attributes.insert("cart_total".to_owned(), Attribute::Number(total));
    }
    let count = rng.random_range(2..=lines.len());
    Visitor {
        name: format!("{} {run:04x}-{number}", name.to_lowercase()),
        attributes,
        lines: lines[..count].to_vec(),
        still_there,
        thanks,
    }
}

/// The language of a conversation, by its attributes.
pub fn language(attributes: &BTreeMap<String, Attribute>) -> Language {
    match attributes.get("language") {
        Some(Attribute::Text(code)) if code == "ja" => Language::Japanese,
        Some(Attribute::Text(code)) if code == "de" => Language::German,
        _ => Language::English,
    }
}

/// An agent's n-th answer, by that agent: two agents never say the same sentence.
pub fn answer(language: Language, n: usize, agent: &str) -> String {
    let lines: &[&str] = match language {
        Language::English => &[
            "Good day, I am glad to help. Tell me a little more?",
            "Thank you. One moment, I am looking.",
            "I see it here.",
            "That can be done.",
            "You will get a confirmation in a minute.",
        ],
        Language::Japanese => &[
            "お問い合わせありがとうございます。詳しく教えていただけますか?",
            "ありがとうございます。少々お待ちください。",
            "確認できました。",
            "はい、承ります。",
            "確認のメールをお送りします。",
        ],
        Language::German => &[
            "Guten Tag, ich helfe gern. Erzählen Sie mir etwas mehr?",
            "Danke. Einen Augenblick, ich sehe nach.",
            "Ich sehe es hier.",
            "Das lässt sich machen.",
            "Sie bekommen gleich eine Bestätigung.",
        ],
    };
    match (n, lines.get(n)) {
        (0, Some(line)) => format!("{line} ({agent})"),
        (_, Some(line)) => format!("{line} ({agent}, {n})"),
        (_, None) => format!("{} ({agent}, {n})", lines[n % lines.len()]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn nobody_says_the_same_sentence_twice() {
        let mut rng = SmallRng::seed_from_u64(1);
        for number in 0..500 {
            let visitor = visitor(number, 1, &mut rng);
            let mut lines: HashSet<&str> = visitor.lines.iter().copied().collect();
            assert!(visitor.lines.len() >= 2);
            assert!(lines.insert(visitor.thanks));
            assert_eq!(lines.len(), visitor.lines.len() + 1);
        }
        for language in [Language::English, Language::Japanese, Language::German] {
            let said: HashSet<String> = (0..40)
                .flat_map(|n| ["aiko", "emil"].map(|agent| answer(language, n, agent)))
                .collect();
            assert_eq!(said.len(), 80);
        }
    }

    #[test]
    fn the_rules_have_something_to_look_at() {
        let mut rng = SmallRng::seed_from_u64(2);
        let visitors: Vec<Visitor> = (0..500).map(|number| visitor(number, 1, &mut rng)).collect();
        for language in ["en", "ja", "de"] {
            let speaks = Attribute::Text(language.to_owned());
            assert!(
                visitors.iter().any(|v| v.attributes["language"] == speaks),
                "{language}"
            );
        }
        assert!(visitors.iter().any(|v| v.attributes["vip"] == Attribute::Bool(true)));
        assert!(visitors.iter().any(|v| v.attributes.contains_key("cart_total")));
        let names: HashSet<&str> = visitors.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names.len(), visitors.len());
    }
}
