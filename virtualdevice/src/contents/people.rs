//! The people this phone knows: the same in contacts, messages, calls and chats.

use super::seed::Seed;

/// Somebody in the address book.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// 1, 2, 3 …: the row in the address book.
    pub row: i64,
    pub first: &'static str,
    pub last: &'static str,
    /// `+1555…`, a number nobody has.
    pub phone: String,
    pub email: String,
    /// `YYYY-MM-DD`.
    pub birthday: String,
}

/// The n-th person of a phone, from 0.
pub(super) fn person(seed: Seed, n: u64) -> Person {
    let mut draws = seed.child("person").nth(n).draws();
    let first = draws.pick(FIRST).unwrap_or_default();
    let last = draws.pick(LAST).unwrap_or_default();
    let (year, month, day) = (1950 + draws.below(55), 1 + draws.below(12), 1 + draws.below(28));
    let (given, family) = (ascii(first), ascii(last));
    Person {
        row: i64::try_from(n).unwrap_or_default().saturating_add(1),
        first,
        last,
        phone: format!("+1555{:07}", (n * 7919 + 1_000_001) % 10_000_000),
        email: format!("{given}.{family}{n}@example.com"),
        birthday: format!("{year}-{month:02}-{day:02}"),
    }
}

fn ascii(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphabetic)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

const FIRST: &[&str] = &[
    "Ada",
    "Ben",
    "Chiara",
    "David",
    "Elif",
    "Finn",
    "Grace",
    "Hana",
    "Ivan",
    "Jürgen",
    "Kofi",
    "Léa",
    "Mei",
    "Nils",
    "Olga",
    "Pedro",
    "Quinn",
    "Rosa",
    "Søren",
    "Tuan",
    "Uma",
    "Vera",
    "Wei",
    "Ximena",
    "Yusuf",
    "Zoë",
    "Émile",
    "Łukasz",
    "李",
    "さくら",
    "Мария",
    "علي",
];

const LAST: &[&str] = &[
    "Abadi",
    "Baker",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Huang",
    "Ito",
    "Jensen",
    "Kim",
    "Lopez",
    "Müller",
    "Nguyen",
    "O’Brien",
    "Petrov",
    "Quist",
    "Rossi",
    "Sato",
    "Tanaka",
    "Usman",
    "Varga",
    "Weber",
    "Xu",
    "Yılmaz",
    "Zhang",
    "Ångström",
    "Novák",
    "da Silva",
    "van den Berg",
];
