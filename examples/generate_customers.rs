//! Customers made up for trying imports at any size: the same ones for the same seed.
//!
//! ```text
//! cargo run --release --example generate_customers -- 1000000 > customers.csv
//! cargo run --release --example generate_customers -- 1000 --format ndjson --seed 7
//! ```
//!
//! E-mails and phones all differ. `custom.city` and `custom.birthday` fit custom fields of the types `text` and `date`.

use std::{
    error::Error,
    io::{self, BufWriter, Write},
};

use serde_json::json;

/// A script with its first and last names, its cities, and how its phones begin: a prefix and so many more digits.
struct Region {
    first: &'static [&'static str],
    last: &'static [&'static str],
    cities: &'static [&'static str],
    phone: (&'static str, usize),
}

const REGIONS: [Region; 8] = [
    Region {
        first: &["Emma", "Liam", "Olivia", "Noah", "Charlotte", "James", "Grace", "Henry", "Ruby", "Oscar"],
        last: &["Smith", "O'Brien", "Taylor-Jones", "Walker", "Hughes", "Evans", "Cooper", "Ward", "Bell", "Price"],
        cities: &["London", "Leeds", "Bristol", "Glasgow", "Cardiff"],
        phone: ("+4474", 8),
    },
    Region {
        first: &["Amélie", "Zoé", "Gaël", "François", "Chloé", "Hugo", "Inès", "Théo", "Léa", "Noël"],
        last: &["Poulain", "Lefèvre", "D'Amboise", "Gauthier", "Noël", "Garçon", "Béranger", "Côté", "Roux", "Faure"],
        cities: &["Paris", "Lyon", "Orléans", "Nîmes", "Besançon"],
        phone: ("+336", 8),
    },
    Region {
        first: &["Jürgen", "Käthe", "Sören", "Anna", "Björn", "Ute", "Lukas", "Mia", "Jörg", "Elke"],
        last: &["Müller", "Groß", "Schäfer", "von Königsmarck", "Weiß", "Krüger", "Böhm", "Vogel", "Jäger", "Franke"],
        cities: &["Köln", "München", "Berlin", "Düsseldorf", "Gießen"],
        phone: ("+49151", 8),
    },
    Region {
        first: &["Asha", "Ravi", "Meera", "Arjun", "Priya", "Kiran", "Sunita", "Vikram", "Lata", "Rohan"],
        last: &["Rao", "Kumar", "Nair", "Sharma", "Iyer", "Patel", "Das", "Menon", "Gupta", "Singh"],
        cities: &["Pune", "Mumbai", "Chennai", "Kochi", "Delhi"],
        phone: ("+9198", 8),
    },
    Region {
        first: &["राम", "सीता", "अर्जुन", "मीरा", "लक्ष्मी", "कृष्ण", "प्रिया", "रवि", "गीता", "मोहन"],
        last: &["शर्मा", "वर्मा", "सिंह", "गुप्ता", "मिश्रा", "यादव", "जोशी", "पटेल", "त्रिपाठी", "चौहान"],
        cities: &["दिल्ली", "वाराणसी", "जयपुर", "भोपाल", "पटना"],
        phone: ("+9199", 8),
    },
    Region {
        first: &["Иван", "Мария", "Пётр", "Ольга", "Сергей", "Анна", "Юрий", "Елена", "Лев", "Софья"],
        last: &[
            "Иванов",
            "Петрова",
            "Соловьёв",
            "Кузнецова",
            "Попов",
            "Лебедева",
            "Козлов",
            "Новикова",
            "Орлов",
            "Зайцева",
        ],
        cities: &["Москва", "Казань", "Омск", "Самара", "Томск"],
        phone: ("+7916", 7),
    },
    Region {
        first: &["José", "Lucía", "Iñigo", "María", "Andrés", "Sofía", "Tomás", "Belén", "Raúl", "Paz"],
        last: &["García", "Muñoz", "Ibáñez", "Peña", "Núñez", "López", "Vázquez", "Ortega", "Ríos", "Cano"],
        cities: &["Madrid", "Sevilla", "Málaga", "A Coruña", "León"],
        phone: ("+346", 8),
    },
    Region {
        first: &["伟", "芳", "娜", "敏", "静", "磊", "洋", "艳", "杰", "涛"],
        last: &["王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴"],
        cities: &["北京", "上海", "广州", "成都", "杭州"],
        phone: ("+86138", 8),
    },
];

const TAGS: [&str; 8] =
    ["newsletter", "vip", "late payer", "north", "south;coast", "referral", "trade fair", "@social"];

/// `SplitMix64` (Steele, Lea, Flood 2014): small, fast and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let place = usize::try_from(self.below(u64::try_from(choices.len()).unwrap_or(1))).unwrap_or_default();
        choices.get(place).copied()
    }
}

struct Customer {
    name: String,
    email: String,
    phone: String,
    status: &'static str,
    kind: &'static str,
    tags: Vec<&'static str>,
    /// In hundredths.
    spend: u64,
    visits: u64,
    last_active: String,
    city: &'static str,
    birthday: String,
}

impl Customer {
    fn make(number: u64, dice: &mut Dice) -> Option<Self> {
        let region = dice.pick(&[0, 1, 2, 3, 4, 5, 6, 7]).and_then(|place: usize| REGIONS.get(place))?;
        let name = format!("{} {}", dice.pick(region.first)?, dice.pick(region.last)?);
        let (prefix, digits) = region.phone;
        let mut tags: Vec<&str> = (0..dice.below(4)).filter_map(|_| dice.pick(&TAGS)).collect();
        tags.sort_unstable();
        tags.dedup();
        let (month, day) = (1 + dice.below(12), 1 + dice.below(28));
        let visits = dice.below(60);
        Some(Self {
            name,
            email: format!("customer{number}@mail{}.example", dice.below(40)),
            phone: format!("{prefix}{number:0digits$}"),
            status: dice.pick(&["active", "active", "active", "active", "inactive", "blocked"])?,
            kind: dice.pick(&["regular", "regular", "regular", "vip", "wholesale"])?,
            tags,
            spend: visits * dice.below(20_000),
            visits,
            last_active: format!(
                "202{}-{month:02}-{day:02}T{:02}:{:02}:00Z",
                dice.below(6),
                dice.below(24),
                dice.below(60)
            ),
            city: dice.pick(region.cities)?,
            birthday: format!("{}-{:02}-{:02}", 1940 + dice.below(66), 1 + dice.below(12), 1 + dice.below(28)),
        })
    }

    fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let tags: Vec<String> = self.tags.iter().map(|tag| tag.replace(';', "\\;")).collect();
        let tags = tags.join(";");
        // A cell that begins like a formula is guarded, as the export guards it.
        let guard = if tags.starts_with('@') { "'" } else { "" };
        let (whole, part) = (self.spend / 100, self.spend % 100);
        write!(out, "{},{},{},{},{},", self.name, self.email, self.phone, self.status, self.kind)?;
        write!(out, "{guard}{},{whole}.{part:02},{},", tags.replace(";@", ";'@"), self.visits)?;
        write!(out, "{},{},{}\r\n", self.last_active, self.city, self.birthday)
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let spend = serde_json::Number::from_f64(f64::from(u32::try_from(self.spend).unwrap_or(u32::MAX)) / 100.0);
        let object = json!({
            "name": self.name, "email": self.email, "phone": self.phone, "status": self.status, "type": self.kind,
            "tags": self.tags, "spend": spend, "visits": self.visits, "last_active": self.last_active,
            "custom": {"city": self.city, "birthday": self.birthday},
        });
        writeln!(out, "{object}")
    }
}

/// What the arguments ask for.
struct Wanted {
    count: u64,
    seed: u64,
    ndjson: bool,
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, Box<dyn Error>> {
    let mut wanted = Wanted { count: 1_000, seed: 1, ndjson: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => wanted.seed = arguments.next().ok_or("--seed needs a number")?.parse()?,
            "--format" => {
                wanted.ndjson = match arguments.next().as_deref() {
                    Some("csv") => false,
                    Some("ndjson") => true,
                    _ => return Err("--format is csv or ndjson".into()),
                }
            }
            count => wanted.count = count.parse().map_err(|_| format!("{count} is no number of customers"))?,
        }
    }
    // So many phones differ in every region.
    if wanted.count > 10_000_000 { Err("at most 10000000 customers".into()) } else { Ok(wanted) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = wanted(std::env::args().skip(1))?;
    let mut dice = Dice(wanted.seed);
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if !wanted.ndjson {
        let header = "name,email,phone,status,type,tags,spend,visits,last_active,custom.city,custom.birthday";
        write!(out, "{header}\r\n")?;
    }
    for customer in (0..wanted.count).filter_map(|number| Customer::make(number, &mut dice)) {
        if wanted.ndjson { customer.write_json(&mut out)? } else { customer.write_csv(&mut out)? }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crm_core::contact::{Email, Phone};

    use super::*;

    fn made(count: u64, seed: u64) -> Vec<Customer> {
        let mut dice = Dice(seed);
        (0..count).filter_map(|number| Customer::make(number, &mut dice)).collect()
    }

    #[test]
    fn every_customer_can_be_imported() {
        let (mut emails, mut phones) = (HashSet::new(), HashSet::new());
        for customer in made(5_000, 1) {
            let email = Email::parse(&customer.email).expect("an address");
            let phone = Phone::parse(&customer.phone, None).expect("a phone");
            assert!(emails.insert(email.as_str().to_owned()) && phones.insert(phone.as_str().to_owned()));
        }
        assert_eq!(emails.len(), 5_000);
    }

    #[test]
    fn the_same_seed_makes_the_same_customers() {
        let written = |seed| {
            let mut out = Vec::new();
            made(100, seed).iter().for_each(|customer| customer.write_csv(&mut out).expect("memory"));
            out
        };
        assert_eq!(written(7), written(7));
        assert_ne!(written(7), written(8));
    }
}
