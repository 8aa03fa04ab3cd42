//! What is known of cards that are not in memory: which file has which records, and the words they are sorted under. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::people::Groups;
use crate::record::RecordId;

/// A card, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) native: Arc<str>,
    pub(crate) group: bool,
    /// It was made in this session.
    pub(crate) made: bool,
    /// It was deleted; it counts as a place only, until the file is tidied.
    gone: bool,
    /// The words in its `CATEGORIES`: their number in the list of sets.
    words: u32,
}

/// Cards by file and by identifier. Some 250 bytes a card.
#[derive(Debug, Default)]
pub(crate) struct Index {
    files: BTreeMap<Arc<str>, Vec<Known>>,
    /// The file that has a card, and its place there.
    homes: HashMap<Arc<str>, (Arc<str>, u32)>,
    /// Most cards have no words, and the others few different ones.
    sets: Vec<Arc<[String]>>,
    numbers: HashMap<Arc<[String]>, u32>,
}

impl Index {
    /// A card that is to be put in.
    pub(crate) fn known(&mut self, native: &str, group: bool, words: Vec<String>) -> Known {
        Known {
            native: native.into(),
            group,
            made: false,
            gone: false,
            words: self.number(words),
        }
    }

    fn number(&mut self, words: Vec<String>) -> u32 {
        if words.is_empty() {
            return 0;
        }
        if let Some(number) = self.numbers.get(words.as_slice()) {
            return *number;
        }
        let words: Arc<[String]> = words.into();
        self.sets.push(Arc::clone(&words));
        // Cards are counted in 32 bits, and a card has one set.
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.numbers.insert(words, number);
        number
    }

    pub(crate) fn reserve(&mut self, cards: usize) {
        self.homes.reserve(cards);
    }

    /// Which cards a file has, in the order in which they stand in it.
    pub(crate) fn put(&mut self, sheet: &Arc<str>, cards: Vec<Known>) {
        self.remove(sheet);
        // A file has fewer cards than fit into the number.
        for (place, card) in (0..).zip(&cards) {
            self.homes.insert(Arc::clone(&card.native), (Arc::clone(sheet), place));
        }
        self.files.insert(Arc::clone(sheet), cards);
    }

    /// Puts a card behind those of a file.
    pub(crate) fn add(&mut self, sheet: &Arc<str>, card: Known) {
        let cards = self.files.entry(Arc::clone(sheet)).or_default();
        let place = u32::try_from(cards.len()).unwrap_or(u32::MAX);
        self.homes.insert(Arc::clone(&card.native), (Arc::clone(sheet), place));
        cards.push(card);
    }

    /// Forgets a card, and gives the file it was in.
    pub(crate) fn drop_card(&mut self, id: &RecordId) -> Option<Arc<str>> {
        let (sheet, place) = self.homes.remove(id.as_str())?;
        let card = self
            .files
            .get_mut(&sheet)
            .and_then(|cards| cards.get_mut(place as usize));
        if let Some(card) = card {
            card.gone = true;
        }
        Some(sheet)
    }

    /// Closes the gaps that deleted cards left in a file.
    pub(crate) fn tidy(&mut self, sheet: &str) {
        let Some(cards) = self.files.get_mut(sheet) else { return };
        if !cards.iter().any(|card| card.gone) {
            return;
        }
        cards.retain(|card| !card.gone);
        for (place, card) in (0..).zip(&*cards) {
            if let Some(home) = self.homes.get_mut(&card.native) {
                home.1 = place;
            }
        }
    }

    /// Forgets a file, and gives the cards that were in it.
    pub(crate) fn remove(&mut self, sheet: &str) -> Vec<Known> {
        let mut cards = self.files.remove(sheet).unwrap_or_default();
        cards.retain(|card| !card.gone);
        for card in &cards {
            self.homes.remove(&card.native);
        }
        cards
    }

    /// The cards of a file in their order, once it is tidied; `None` where no such file is known.
    pub(crate) fn cards(&self, sheet: &str) -> Option<&[Known]> {
        self.files.get(sheet).map(|cards| &**cards)
    }

    /// A file's name as it is kept here.
    pub(crate) fn name(&self, sheet: &str) -> Option<&Arc<str>> {
        self.files.get_key_value(sheet).map(|(name, _)| name)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = &Known>)> {
        let there = |card: &&Known| !card.gone;
        self.files
            .iter()
            .map(move |(name, cards)| (name, cards.iter().filter(there)))
    }

    /// The file that has a record.
    pub(crate) fn home(&self, id: &RecordId) -> Option<&Arc<str>> {
        self.homes.get(id.as_str()).map(|(sheet, _)| sheet)
    }

    pub(crate) fn has(&self, id: &RecordId) -> bool {
        self.homes.contains_key(id.as_str())
    }

    pub(crate) fn get(&self, id: &RecordId) -> Option<&Known> {
        let (sheet, place) = self.homes.get(id.as_str())?;
        self.files.get(sheet)?.get(*place as usize)
    }

    pub(crate) fn words(&self, card: &Known) -> &[String] {
        let at = (card.words as usize).checked_sub(1);
        at.and_then(|at| self.sets.get(at)).map_or(&[], |words| words)
    }

    /// Enters the words of a card that changed.
    pub(crate) fn set_words(&mut self, id: &RecordId, words: Vec<String>) {
        let number = self.number(words);
        let Some((sheet, place)) = self.homes.get(id.as_str()) else {
            return;
        };
        let cards = self.files.get_mut(sheet);
        if let Some(card) = cards.and_then(|cards| cards.get_mut(*place as usize)) {
            card.words = number;
        }
    }

    /// Cards of people and companies.
    pub(crate) fn contacts(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        let cards = self
            .files()
            .flat_map(|(sheet, cards)| cards.map(move |card| (sheet, card)));
        cards.filter(|(_, card)| !card.group)
    }
}

/// What one session remembers of a folder for the next: a text of lines.
///
/// The first line is the format, its number, how groups are kept, which version of this software wrote it, and `tell` where
/// the groups without a card have to be told the next time whatever happened. The rest is there only if files need not be read
/// again to know what they are: a line `w` with words for every set of them, a line `g` for every group without a card, a
/// line for every file and a last one that says how many files there were. Fields are divided by tabs. A file has its print
/// or `-`, its name, and a field for each card: `c` for a contact or `g` for a group, the number of its words' set, and after
/// a colon its identifier where that is not what the file's name begins with.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) index: Index,
    /// The files that are as they were if they have these prints.
    pub(crate) prints: HashMap<Arc<str>, u64>,
    /// Groups without a card that were told.
    pub(crate) groups: Vec<RecordId>,
    /// They have to be told again.
    pub(crate) tell: bool,
}

/// What wrote a token: another version may read files in another way.
const WRITER: &str = env!("CARGO_PKG_VERSION");
const FORMAT: &str = "contacts 2";

/// The first line.
pub(crate) fn head(groups: Groups, tell: bool) -> String {
    let groups = groups.word();
    let tell = if tell { " tell" } else { "" };
    format!("{FORMAT} {groups} {WRITER}{tell}")
}

/// How groups are kept, as a token of any version says it.
pub(crate) fn groups_of(token: &str) -> Option<&str> {
    let mut words = token.lines().next()?.split(' ');
    let named = words.next() == Some("contacts");
    words.nth(1).filter(|_| named)
}

fn escaped(out: &mut String, text: &str) {
    if !text.contains(['\t', '\n', '\r', '\\']) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
}

fn plain(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

/// What a card's file is called if it is called after it.
fn stem(name: &str) -> &str {
    name.strip_suffix(".vcf").unwrap_or(name)
}

/// All lines after the first.
pub(crate) fn write<'a>(
    out: &mut String,
    index: &Index,
    groups: impl Iterator<Item = &'a RecordId>,
    print: &dyn Fn(&str) -> Option<u64>,
) {
    // Words that no card has any more are forgotten.
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    for card in index.files().flat_map(|(_, cards)| cards).filter(|card| card.words > 0) {
        let next = numbers.len().saturating_add(1);
        if numbers.contains_key(&card.words) {
            continue;
        }
        numbers.insert(card.words, next);
        out.push_str("\nw");
        for word in index.words(card) {
            out.push('\t');
            escaped(out, word);
        }
    }
    for group in groups {
        out.push_str("\ng\t");
        escaped(out, group.as_str());
    }
    for (name, cards) in index.files() {
        match print(name) {
            Some(print) => out.push_str(&format!("\n{print:016x}\t")),
            None => out.push_str("\n-\t"),
        }
        escaped(out, name);
        for card in cards {
            out.push_str(if card.group { "\tg" } else { "\tc" });
            if let Some(number) = numbers.get(&card.words) {
                out.push_str(&number.to_string());
            }
            if *card.native != *stem(name) {
                out.push(':');
                escaped(out, &card.native);
            }
        }
    }
    out.push_str(&format!("\nend {}", index.files.len()));
}

impl Remembered {
    /// What a token says, if it is one of this version, about at most `max` files with groups kept in this way, and whole.
    pub(crate) fn read(token: &str, groups: Groups, max: usize) -> Option<Self> {
        let (first, rest) = token.split_once('\n')?;
        let tell = match first.strip_prefix(&head(groups, false))? {
            "" => false,
            " tell" => true,
            _ => return None,
        };
        let (lines, end) = rest.rsplit_once('\n').unwrap_or(("", rest));
        let files: usize = end.strip_prefix("end ")?.parse().ok()?;
        if files > max {
            return None;
        }
        let mut read = Self {
            index: Index::default(),
            prints: HashMap::with_capacity(files.min(lines.len())),
            groups: Vec::new(),
            tell,
        };
        read.index.reserve(files.min(lines.len()));
        for line in lines.lines() {
            let mut fields = line.split('\t');
            match fields.next()? {
                "w" => read.words(fields)?,
                "g" => read.groups.push(RecordId::new(plain(fields.next()?)?).ok()?),
                print => read.file(print, fields)?,
            }
        }
        (read.index.files.len() == files).then_some(read)
    }

    fn words<'a>(&mut self, fields: impl Iterator<Item = &'a str>) -> Option<()> {
        let words: Vec<String> = fields.map(plain).collect::<Option<_>>()?;
        let before = self.index.sets.len();
        self.index.number(words);
        (self.index.sets.len() > before).then_some(())
    }

    fn file<'a>(&mut self, print: &str, mut fields: impl Iterator<Item = &'a str>) -> Option<()> {
        let name: Arc<str> = plain(fields.next()?)?.into();
        let mut cards = Vec::new();
        for field in fields {
            let (mark, native) = match field.split_once(':') {
                Some((mark, native)) => (mark, RecordId::new(plain(native)?)),
                None => (field, RecordId::new(stem(&name))),
            };
            let group = mark.starts_with('g');
            let words = match mark.strip_prefix(['c', 'g'])? {
                "" => 0,
                number => number.parse().ok()?,
            };
            if words as usize > self.index.sets.len() {
                return None;
            }
            cards.push(Known {
                native: native.ok()?.as_str().into(),
                group,
                made: false,
                gone: false,
                words,
            });
        }
        let natives: HashSet<&str> = cards.iter().map(|card| &*card.native).collect();
        let taken = |native: &&str| self.index.homes.contains_key(*native);
        if natives.len() != cards.len() || natives.iter().any(taken) || self.index.files.contains_key(&name) {
            return None;
        }
        drop(natives);
        self.index.put(&name, cards);
        if print != "-" {
            let print = (print.len() == 16).then(|| u64::from_str_radix(print, 16).ok())??;
            self.prints.insert(name, print);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(count: usize) -> (Index, HashMap<Arc<str>, u64>) {
        let (mut index, mut prints) = (Index::default(), HashMap::new());
        for number in 0..count {
            let native = format!("0b7c2e1a-5a00-4d2e-8f00-{number:012}");
            let words = (number % 3 == 1).then(|| format!("Friends\tof {}\\", number % 40));
            let card = index.known(&native, number % 500 == 7, words.into_iter().collect());
            let sheet: Arc<str> = if number % 10 == 3 { "odd\nname" } else { "" }.into();
            let sheet: Arc<str> = format!("{sheet}{native}.vcf").into();
            index.put(&sheet, vec![card]);
            if number % 7 != 0 {
                prints.insert(sheet, (number as u64).wrapping_mul(0x1234_5678_9abc));
            }
        }
        let empty: Arc<str> = "empty.vcf".into();
        index.put(&empty, Vec::new());
        (index, prints)
    }

    fn token(index: &Index, prints: &HashMap<Arc<str>, u64>, groups: &[RecordId]) -> String {
        let mut token = head(Groups::Cards, true);
        write(&mut token, index, groups.iter(), &|sheet| prints.get(sheet).copied());
        token
    }

    #[test]
    fn what_is_remembered_reads_back_as_the_same() {
        let (index, prints) = folder(1200);
        let groups = [RecordId::new("category/1\n2").unwrap()];
        let text = token(&index, &prints, &groups);
        let read = Remembered::read(&text, Groups::Cards, 2000).unwrap();
        assert_eq!(
            (&read.prints, &read.groups[..], read.tell),
            (&prints, &groups[..], true)
        );
        let said = |index: &Index| {
            let card = |card: &Known| {
                (
                    Known {
                        words: 0,
                        ..card.clone()
                    },
                    index.words(card).to_vec(),
                )
            };
            let files = index.files();
            let files = files.map(|(name, cards)| (Arc::clone(name), cards.map(card).collect::<Vec<_>>()));
            files.collect::<Vec<_>>()
        };
        assert_eq!(said(&read.index), said(&index));
        assert_eq!(token(&read.index, &read.prints, &read.groups), text);
        let id = RecordId::new("0b7c2e1a-5a00-4d2e-8f00-000000000003").unwrap();
        assert_eq!(
            &**read.index.home(&id).unwrap(),
            "odd\nname0b7c2e1a-5a00-4d2e-8f00-000000000003.vcf"
        );

        assert!(Remembered::read(&text, Groups::Categories, 2000).is_none());
        assert!(
            Remembered::read(&text, Groups::Cards, 1200).is_none(),
            "there are 1201 files"
        );
        assert!(Remembered::read(&text.replace(WRITER, "0.0.1"), Groups::Cards, 2000).is_none());
    }

    #[test]
    fn words_that_no_card_has_any_more_are_forgotten() {
        let (mut index, prints) = folder(2);
        let id = RecordId::new("0b7c2e1a-5a00-4d2e-8f00-000000000001").unwrap();
        assert!(token(&index, &prints, &[]).contains("Friends"));
        index.set_words(&id, Vec::new());
        assert!(!token(&index, &prints, &[]).contains("Friends"));
    }

    #[test]
    fn fifty_thousand_cards_are_remembered_in_a_few_megabytes() {
        let (index, prints) = folder(50_000);
        let text = token(&index, &prints, &[]);
        assert!(text.len() < 4_000_000, "{} bytes", text.len());
        assert!(Remembered::read(&text, Groups::Cards, 60_000).is_some());
    }
}
