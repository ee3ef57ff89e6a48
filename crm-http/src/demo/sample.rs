//! The people and companies of the sample: made up, believable, the same in every run.

use crm_core::{
    id::CustomerId,
    port::{Random, SeededRandom},
    segment::SegmentId,
};
use serde_json::{Value, json};

/// What one sample organization is like.
#[derive(Debug)]
pub(super) struct Company {
    /// Its name.
    pub(super) name: &'static str,
    /// Domain of its staff's addresses.
    pub(super) domain: &'static str,
    /// ISO 4217.
    pub(super) currency: &'static str,
    /// IANA.
    pub(super) time_zone: &'static str,
    /// ISO 3166.
    pub(super) country: &'static str,
    /// Teams.
    pub(super) teams: [&'static str; 2],
    /// Staff: name, role, which team.
    pub(super) staff: &'static [(&'static str, &'static str, Option<usize>)],
    /// Groups of customers.
    pub(super) groups: &'static [&'static str],
    /// Seed of everything made up.
    seed: u64,
    first_names: &'static [&'static str],
    last_names: &'static [&'static str],
    /// City and its telephone prefix in international form.
    cities: &'static [&'static str],
    /// A mobile number is this and eight random digits.
    mobile_prefixes: &'static [&'static str],
}

/// What can be bought: number, name and price.
const GOODS: [(&str, &str, f64); 8] = [
    ("SCARF-01", "Silk scarf", 49.5),
    ("MUG-04", "Stoneware mug", 12.25),
    ("LAMP-02", "Desk lamp", 89.0),
    ("TEA-11", "Assam tea, 250 g", 7.75),
    ("BOOK-07", "Notebook", 5.5),
    ("BAG-03", "Canvas bag", 24.0),
    ("VASE-05", "Glass vase", 36.4),
    ("RUG-09", "Wool rug", 310.0),
];

/// How far orders are.
const STATUSES: [&str; 4] = ["completed", "completed", "paid", "shipped"];

/// How many customers each company has.
pub(super) const CUSTOMERS: usize = 1500;

pub(super) const COMPANIES: [Company; 2] = [
    Company {
        name: "Saffron & Slate",
        domain: "saffron-slate.example",
        currency: "INR",
        time_zone: "Asia/Kolkata",
        country: "IN",
        teams: ["North desk", "South desk"],
        staff: &[
            ("Asha Rao", "Admin", None),
            ("Vikram Sethi", "TL", Some(0)),
            ("Meera Nair", "TL", Some(1)),
            ("Farah Khan", "QA", None),
            ("Rohan Gupta", "Agent", Some(0)),
            ("Divya Iyer", "Agent", Some(0)),
            ("Arjun Menon", "Agent", Some(1)),
        ],
        groups: &["Wedding season", "Loyalty club", "Corporate gifts", "Newsletter"],
        seed: 0x5aff_2024,
        first_names: &[
            "Aarav",
            "Aditi",
            "Ananya",
            "Arjun",
            "Bhavna",
            "Chitra",
            "Deepak",
            "Devika",
            "Esha",
            "Farhan",
            "Gaurav",
            "Harini",
            "Ishaan",
            "Jaya",
            "Kabir",
            "Kavya",
            "Lakshmi",
            "Manish",
            "Meenakshi",
            "Neha",
            "Nikhil",
            "Ojas",
            "Pooja",
            "Pranav",
            "Priya",
            "Rahul",
            "Ravi",
            "Rukmini",
            "Sahil",
            "Sanjana",
            "Shreya",
            "Siddharth",
            "Tanvi",
            "Tara",
            "Uday",
            "Varun",
            "Vidya",
            "Yash",
            "Zara",
            "मीरा",
        ],
        last_names: &[
            "Agarwal",
            "Bhatt",
            "Bose",
            "Chatterjee",
            "Chauhan",
            "Das",
            "Deshpande",
            "Fernandes",
            "Ghosh",
            "Gill",
            "Iyer",
            "Jain",
            "Joshi",
            "Kapoor",
            "Khan",
            "Kulkarni",
            "Kumar",
            "Mehta",
            "Menon",
            "Mishra",
            "Mukherjee",
            "Nair",
            "Patel",
            "Pillai",
            "Rao",
            "Reddy",
            "Saxena",
            "Sharma",
            "Singh",
            "Sinha",
            "Subramanian",
            "Thomas",
            "Tripathi",
            "Varma",
        ],
        cities: &[
            "Mumbai",
            "Delhi",
            "Bengaluru",
            "Chennai",
            "Kolkata",
            "Hyderabad",
            "Pune",
            "Jaipur",
            "Kochi",
            "Lucknow",
        ],
        mobile_prefixes: &["+9198", "+9197", "+9199", "+9188", "+9170"],
    },
    Company {
        name: "Harbour Cycles",
        domain: "harbour-cycles.example",
        currency: "EUR",
        time_zone: "Europe/Berlin",
        country: "DE",
        teams: ["Workshop", "Showroom"],
        staff: &[
            ("Greta Lindqvist", "Admin", None),
            ("Jonas Bergmann", "TL", Some(0)),
            ("Élodie Marchand", "TL", Some(1)),
            ("Tomás Ferreira", "QA", None),
            ("Lena Vogt", "Agent", Some(0)),
            ("Piet de Wit", "Agent", Some(1)),
        ],
        groups: &["Cargo bikes", "Service plan", "Club riders", "Dealers"],
        seed: 0xb1c7_c1e5,
        first_names: &[
            "Ada",
            "Anton",
            "Björn",
            "Carla",
            "Chloé",
            "Daniel",
            "Elif",
            "Émile",
            "Finn",
            "Frieda",
            "Giulia",
            "Hannah",
            "Ida",
            "Jakub",
            "Jörg",
            "Katarzyna",
            "Lars",
            "Léa",
            "Lotte",
            "Lukáš",
            "Maja",
            "Mateo",
            "Milan",
            "Noor",
            "Olga",
            "Oskar",
            "Paula",
            "Rasmus",
            "René",
            "Saskia",
            "Sofia",
            "Søren",
            "Theo",
            "Ursula",
            "Vera",
            "Wiebke",
            "Yusuf",
            "Zoë",
            "Олена",
        ],
        last_names: &[
            "Andersen", "Bakker", "Bauer", "Becker", "Çelik", "Dubois", "Fischer", "García", "Hansen", "Hoffmann",
            "Horvat", "Jansen", "Klein", "Kowalski", "Krüger", "Larsen", "Lefèvre", "Meyer", "Moreau", "Müller",
            "Nowak", "Novák", "Petersen", "Richter", "Rossi", "Schäfer", "Schmidt", "Schulz", "Silva", "van Dijk",
            "Visser", "Weber", "Yılmaz",
        ],
        cities: &[
            "Hamburg",
            "Bremen",
            "Kiel",
            "Lübeck",
            "Rostock",
            "Berlin",
            "Leipzig",
            "Köln",
            "München",
            "Stuttgart",
        ],
        mobile_prefixes: &["+49151", "+49160", "+49170", "+49171", "+49175"],
    },
];

const TIERS: [&str; 4] = ["Bronze", "Silver", "Gold", "Platinum"];
const TAGS: [&str; 8] =
    ["newsletter", "vip", "referral", "walk-in", "web", "birthday-offer", "returns-often", "wholesale-lead"];
const NOTES: [&str; 5] = [
    "Prefers a call in the evening.",
    "Asked for an invoice with the company's address.",
    "Was very happy with the last order.",
    "Waiting for the new catalogue.",
    "Complained about late delivery; apologised and sent a voucher.",
];

/// The custom fields of every sample organization, as the API takes them.
pub(super) fn custom_fields() -> Vec<Value> {
    vec![
        json!({"key": "city", "label": "City", "type": "text", "indexed": true, "rules": {"max_length": 80}}),
        json!({"key": "birthday", "label": "Birthday", "type": "date", "rules": {"after": "1900-01-01"}}),
        json!({"key": "tier", "label": "Loyalty tier", "type": "list", "options": TIERS, "default": "Bronze", "indexed": true}),
        json!({"key": "credit", "label": "Store credit", "type": "money", "rules": {"min": 0}}),
        json!({"key": "opted_in", "label": "Newsletter", "type": "boolean", "default": false}),
        json!({"key": "interests", "label": "Interests", "type": "multi_list", "options": ["New arrivals", "Sales", "Events", "Repairs"]}),
    ]
}

/// The segment that the campaign goes to.
pub(super) const CAMPAIGN_SEGMENT: &str = "Big spenders who went quiet";
/// What the campaign is called.
pub(super) const CAMPAIGN: &str = "We miss you";

/// The campaign as the API takes it: two messages to compare, and some customers kept out.
pub(super) fn campaign(segment: SegmentId) -> Value {
    json!({
        "name": CAMPAIGN, "description": "Brings back good customers who have not been here for half a year.",
        "segment_id": segment, "channel": "mock", "topic": "offers", "holdout_percent": 10,
        "message": "Hi {{first_name | default: \"there\"}}, it has been a while. Your {{custom.tier | lower}} card \
            still saves you 10% in {{custom.city | default: \"every shop\"}}.",
        "variants": [
            {"name": "Reminder"},
            {"name": "Gift", "message": "Dear {{name}}, a small gift waits for you until the end of the month. Come and see \
                what is new!"},
        ],
    })
}

/// Segments as the API takes them.
pub(super) fn segments() -> Vec<Value> {
    vec![
        json!({
            "name": CAMPAIGN_SEGMENT, "description": "Worth a personal message.",
            "rules_json": {"and": [
                {"field": "spend", "op": ">", "value": 100_000}, {"field": "inactive_days", "op": ">", "value": 180},
                {"field": "status", "op": "!=", "value": "blocked"},
            ]},
        }),
        json!({
            "name": "Gold and platinum, active this month", "description": null,
            "rules_json": {"and": [
                {"field": "custom.tier", "op": "in", "value": [TIERS[2], TIERS[3]]},
                {"field": "last_active", "op": "within_last", "value": "30d"},
            ]},
        }),
        json!({
            "name": "Bought twice in a quarter", "description": "By their orders, those called off left out.",
            "rules_json": {"orders": {
                "within_last": "90d",
                "where": {"field": "status", "op": "not_in", "value": ["cancelled", "refunded"]},
                "count": {"op": ">=", "value": 2},
            }},
        }),
        json!({
            "name": "Newsletter without an address", "description": "Who said yes, and cannot be reached.",
            "rules_json": {"and": [
                {"field": "custom.opted_in", "op": "==", "value": true},
                {"field": "email", "op": "exists", "value": false},
            ]},
        }),
    ]
}

/// A customer as the API takes it, and what else is told of the person.
#[derive(Debug)]
pub(super) struct Person {
    /// The body of a creation; owner and team are for the loader to add.
    pub(super) body: Value,
    /// Which group the person is in.
    pub(super) group: Option<usize>,
    /// Which of the staff owns the record.
    pub(super) owner: usize,
    /// A note.
    pub(super) note: Option<&'static str>,
}

/// Picks, always in the same way for the same seed.
#[derive(Debug)]
struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % (bound.max(1) as u64)).unwrap_or_default()
    }

    fn pick<T: Copy>(&self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).copied()
    }

    fn one_in(&self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

impl Company {
    /// The customers, in the order in which they are created. `now` dates their last activity.
    pub(super) fn people(&self, now: crm_core::time::Timestamp) -> Vec<Person> {
        let dice = Dice(SeededRandom::new(self.seed));
        (0..CUSTOMERS).map(|number| self.person(&dice, number, now)).collect()
    }

    /// What the customers have bought, oldest first. `now` dates it.
    pub(super) fn orders(&self, customers: &[Option<CustomerId>], now: crm_core::time::Timestamp) -> Vec<Value> {
        let dice = Dice(SeededRandom::new(self.seed + 1));
        let (mut orders, mut number) = (Vec::new(), 0);
        for customer in customers {
            if !dice.one_in(5) {
                continue;
            }
            for _ in 0..=dice.below(3) {
                number += 1;
                let items: Vec<Value> = (0..=dice.below(3))
                    .filter_map(|_| dice.pick(&GOODS))
                    .map(|(sku, name, price)| json!({"sku": sku, "name": name, "qty": 1 + dice.below(4), "price": price}))
                    .collect();
                let status = if dice.one_in(12) { "cancelled" } else { dice.pick(&STATUSES).unwrap_or_default() };
                let age = std::time::Duration::from_hours(dice.below(24 * 400) as u64);
                let Some(customer) = customer else { continue };
                orders.push(json!({
                    "customer_id": customer, "external_id": format!("SAMPLE-{number:05}"), "status": status,
                    "date": now.minus(age), "items": items,
                }));
            }
        }
        orders
    }

    fn person(&self, dice: &Dice, number: usize, now: crm_core::time::Timestamp) -> Person {
        let first = dice.pick(self.first_names).unwrap_or_default();
        let last = dice.pick(self.last_names).unwrap_or_default();
        let visits = dice.below(60);
        let spend = (visits * (200 + dice.below(9_000))) as i64 * 100 + dice.below(100) as i64;
        let days = if dice.one_in(4) { 180 + dice.below(500) } else { dice.below(180) };
        let last_active = now.minus(std::time::Duration::from_secs(days as u64 * 86_400 + dice.below(86_400) as u64));
        let tags: Vec<&str> = TAGS.into_iter().filter(|_| dice.one_in(6)).collect();
        let interests: Vec<&str> =
            ["New arrivals", "Sales", "Events", "Repairs"].into_iter().filter(|_| dice.one_in(3)).collect();
        let mut body = json!({
            "name": format!("{first} {last}"),
            "status": if dice.one_in(20) { "blocked" } else if dice.one_in(8) { "inactive" } else { "active" },
            "type": if dice.one_in(12) { "vip" } else if dice.one_in(15) { "wholesale" } else { "regular" },
            "tags": tags,
            "opening_visits": visits,
            "opening_spend": spend as f64 / 100.0,
            "last_active": last_active,
            "metadata": {super::NUMBER: number},
            "consent": {"email": !dice.one_in(3), "whatsapp": dice.one_in(2), "mock:offers": !dice.one_in(8)},
            "custom": {
                "city": dice.pick(self.cities),
                "birthday": format!("{:04}-{:02}-{:02}", 1950 + dice.below(55), 1 + dice.below(12), 1 + dice.below(28)),
                "tier": TIERS[(visits / 15).min(3)],
                "credit": (dice.below(40) * 25) as f64 / 2.0,
                "opted_in": dice.one_in(2),
                "interests": interests,
            },
        });
        if let Some(members) = body.as_object_mut() {
            // Some customers never gave an address, some never a number.
            if !dice.one_in(9) {
                members.insert("email".to_owned(), format!("customer{number:05}@mail.example").into());
            }
            if !dice.one_in(12) {
                // The running number keeps two of them from sharing one.
                let prefix = dice.pick(self.mobile_prefixes).unwrap_or_default();
                members.insert("phone".to_owned(), format!("{prefix}{:04}{number:04}", 1000 + dice.below(9000)).into());
            }
        }
        Person {
            body,
            group: dice.one_in(3).then(|| dice.below(self.groups.len())),
            owner: dice.below(self.staff.len()),
            note: if dice.one_in(25) { dice.pick(&NOTES) } else { None },
        }
    }
}
