//! The 1,024 words of codes and check words: common, four to six letters, written for this project.
//!
//! No two share their first four letters, so those are enough; no two differ by one letter or by
//! two neighbours swapped, so a slip of the tongue or finger is noticed. The order is part of the
//! protocol: word number n stands for the ten bits n.

/// The list, in alphabetical order.
#[rustfmt::skip]
pub(super) const WORDS: [&str; 1024] = [
    "acorn", "actor", "alarm", "album", "alley", "almond", "alpine", "amber", "anchor", "angle", "animal",
    "anvil", "apple", "apron", "arbor", "arena", "argue", "arrow", "artist", "atlas", "attic", "autumn",
    "axle", "baby", "bacon", "badge", "bagel", "baker", "ballad", "bamboo", "banana", "band", "banjo",
    "banner", "barber", "bark", "barley", "barrel", "basil", "batch", "bazaar", "beach", "beak", "beaver",
    "beef", "beetle", "begin", "berry", "bike", "bingo", "birch", "bird", "bishop", "bison", "blade",
    "blend", "blink", "block", "bloom", "blouse", "blue", "board", "boat", "bobbin", "bobcat", "body",
    "boil", "bone", "bonnet", "bonus", "book", "booth", "bottle", "bounce", "braid", "brass", "brave",
    "bread", "breeze", "brick", "bright", "bring", "brown", "brush", "bubble", "bucket", "budget", "bugle",
    "build", "bulb", "bundle", "bunny", "bureau", "burger", "burrow", "burst", "butter", "buzz", "cabin",
    "cable", "cactus", "cadet", "cake", "calm", "camel", "camp", "canal", "candid", "canoe", "canvas",
    "carbon", "cargo", "carpet", "carrot", "carve", "castle", "cavern", "cedar", "celery", "cement",
    "chain", "chalk", "chapel", "charm", "chase", "cheese", "cherry", "chess", "chief", "chimp", "choice",
    "chorus", "cinema", "circle", "citrus", "city", "civil", "clap", "class", "clean", "clerk", "clever",
    "cliff", "climb", "clinic", "closet", "cloud", "club", "coach", "coast", "cobalt", "cobra", "cocoa",
    "coffee", "coin", "cold", "collar", "column", "comb", "comet", "common", "copper", "copy", "cork",
    "cosmic", "cotton", "cougar", "count", "cousin", "cover", "cowboy", "crab", "cradle", "craft", "crane",
    "crater", "crayon", "creek", "crest", "crisp", "crocus", "crop", "crumb", "cube", "cuckoo", "curb",
    "curry", "custom", "cycle", "cymbal", "dairy", "dance", "dash", "dawn", "dazzle", "debate", "decade",
    "deck", "deer", "delta", "denim", "depot", "depth", "derby", "desert", "design", "detail", "device",
    "dimple", "dinner", "direct", "ditch", "divide", "doctor", "dodge", "domino", "donkey", "doodle",
    "door", "double", "dough", "dove", "dozen", "dragon", "drama", "drawer", "dress", "drift", "drill",
    "drink", "drive", "drum", "dugout", "dune", "dust", "duty", "dwarf", "dynamo", "eager", "eagle",
    "earth", "easel", "ebony", "echo", "eclair", "editor", "effort", "eggs", "eight", "elbow", "elder",
    "eleven", "empire", "enamel", "energy", "engine", "enjoy", "enlist", "enter", "epic", "escape", "essay",
    "estate", "ethics", "event", "excuse", "exit", "exotic", "expert", "extra", "fabric", "face", "faith",
    "falcon", "family", "famous", "fancy", "farm", "father", "feast", "fence", "fender", "ferret", "fiber",
    "fidget", "field", "fiesta", "figure", "film", "filter", "finch", "finger", "finish", "fire", "fish",
    "fjord", "flag", "flame", "flash", "flavor", "fleet", "flick", "flight", "flint", "flip", "float",
    "floor", "fluff", "fluid", "flute", "foam", "focus", "foggy", "folder", "forest", "forge", "fossil",
    "found", "fresh", "friend", "fringe", "frog", "front", "fruit", "fudge", "fuel", "funnel", "future",
    "gadget", "galaxy", "gallop", "game", "garage", "garden", "gargle", "garlic", "garnet", "gauge",
    "gazebo", "gear", "gecko", "genius", "gentle", "geyser", "giant", "giggle", "give", "glad", "gleam",
    "glide", "globe", "glory", "gnome", "goblet", "golf", "goose", "gopher", "gospel", "gourd", "gown",
    "grace", "grain", "grand", "gravy", "green", "grid", "group", "grove", "guard", "guitar", "habit",
    "hail", "halo", "hamlet", "hammer", "handle", "harp", "hasten", "haven", "hawk", "hazel", "head",
    "health", "heart", "hedge", "helium", "helmet", "herb", "heron", "hidden", "hiker", "hinge", "hippo",
    "hobby", "hockey", "hoist", "hollow", "home", "honey", "hood", "hornet", "hotel", "huddle", "human",
    "humble", "humor", "hunter", "husky", "hybrid", "icicle", "icon", "idea", "igloo", "iguana", "image",
    "indigo", "infant", "insect", "inside", "invent", "iris", "island", "ivory", "jackal", "jasper", "jazz",
    "jeans", "jelly", "jersey", "jewel", "jigsaw", "jogger", "joke", "jovial", "juice", "jumbo", "jump",
    "jungle", "junior", "kayak", "kelp", "kennel", "kettle", "kick", "kidney", "kilo", "kimono", "kindle",
    "king", "kiosk", "kite", "kitten", "kiwi", "knee", "knife", "knock", "koala", "label", "ladder",
    "ladle", "lagoon", "lamb", "laptop", "large", "larva", "laser", "laugh", "laurel", "lawyer", "lazy",
    "leader", "leaf", "league", "learn", "legacy", "legend", "lemur", "length", "lens", "lentil", "level",
    "lichen", "lift", "lilac", "lily", "lime", "linen", "liquid", "liter", "little", "lively", "lizard",
    "local", "locket", "locust", "logic", "loop", "lotus", "lounge", "lucky", "lumber", "lumen", "lunar",
    "lynx", "magic", "magnet", "magpie", "major", "mallet", "mammal", "mango", "mantle", "maple", "marble",
    "margin", "marine", "market", "maroon", "mask", "matrix", "maze", "meadow", "medal", "melon", "memory",
    "mentor", "menu", "merit", "method", "middle", "midway", "milk", "mimic", "mingle", "mint", "minute",
    "mirror", "mixer", "mobile", "model", "module", "moment", "month", "moon", "morsel", "mortar", "mosaic",
    "moss", "mother", "motor", "mouse", "movie", "muffin", "mule", "mural", "muscle", "museum", "music",
    "mutual", "myth", "napkin", "nation", "nature", "navy", "nebula", "nectar", "needle", "neon", "nerve",
    "never", "news", "nibble", "nickel", "nine", "noble", "noise", "nomad", "normal", "north", "notch",
    "note", "nougat", "nozzle", "nugget", "nurse", "nutmeg", "nylon", "oasis", "object", "oboe", "obtain",
    "ocean", "ocelot", "offer", "office", "often", "omega", "omelet", "onion", "opal", "open", "optic",
    "oracle", "orbit", "order", "organ", "orient", "origin", "oriole", "osprey", "otter", "outfit",
    "outlaw", "owner", "oxygen", "ozone", "paddle", "page", "pagoda", "paint", "panda", "panel", "papaya",
    "paper", "parade", "parcel", "parlor", "party", "pasta", "path", "patio", "patrol", "pause", "peanut",
    "pebble", "pecan", "pencil", "people", "pepper", "perch", "permit", "person", "phone", "photo", "piano",
    "pickle", "picnic", "pier", "pigeon", "pilot", "pink", "pipe", "pizza", "place", "plain", "planet",
    "plasma", "play", "plaza", "pledge", "plenty", "pliers", "plow", "plug", "plume", "podium", "poem",
    "polish", "polka", "pollen", "pond", "pool", "poppy", "portal", "possum", "potato", "powder", "praise",
    "prawn", "price", "prism", "profit", "pronto", "proof", "propel", "proud", "public", "pulse", "puma",
    "pupil", "puppet", "purple", "push", "puzzle", "quail", "quart", "queen", "quench", "quest", "quick",
    "quiet", "quill", "quince", "quiver", "quiz", "quota", "rabbit", "radio", "rafter", "raisin", "rally",
    "ramble", "ranch", "range", "rapid", "rattle", "ravine", "razor", "ready", "recess", "recipe", "record",
    "refuge", "regal", "region", "relay", "relic", "remind", "remote", "rent", "repair", "repeat", "rescue",
    "resort", "retire", "return", "revive", "reward", "rhyme", "rhythm", "ribbon", "ridge", "ripple",
    "rise", "ritual", "river", "road", "robin", "robot", "room", "roster", "rotate", "route", "rowing",
    "royal", "rubber", "rudder", "rugby", "ruler", "runner", "rustic", "safari", "salad", "salon", "salt",
    "salute", "sample", "sandal", "satin", "sauce", "savory", "scarf", "scene", "school", "scout", "screen",
    "script", "scroll", "sculpt", "search", "season", "seat", "second", "seed", "seesaw", "select",
    "senior", "sense", "series", "seven", "shadow", "shaft", "shark", "sheep", "shelf", "shield", "shine",
    "ship", "shirt", "shore", "shovel", "shower", "shrimp", "shrub", "sierra", "signal", "silver", "siren",
    "sister", "skate", "skill", "skunk", "sleeve", "sleigh", "slice", "sloth", "smart", "smoke", "smooth",
    "snail", "snake", "snow", "soap", "soccer", "social", "soda", "solid", "solve", "sorbet", "south",
    "spare", "speak", "sphere", "spider", "spiral", "splash", "split", "sponge", "spoon", "sport", "spray",
    "spring", "sprout", "spruce", "square", "squid", "stage", "stair", "stamp", "statue", "steam", "steel",
    "stereo", "stick", "stitch", "stone", "stool", "stork", "strap", "street", "stripe", "strong", "studio",
    "style", "submit", "subway", "sudden", "sugar", "suit", "summer", "sunset", "surf", "survey", "swan",
    "swift", "swim", "swing", "swirl", "swivel", "symbol", "syrup", "system", "tablet", "tackle", "tailor",
    "talent", "tandem", "tape", "target", "tartan", "tassel", "taste", "taxi", "teapot", "teeth", "tempo",
    "term", "test", "thank", "thirty", "thorn", "three", "thrive", "throat", "thumb", "tiara", "ticket",
    "tidal", "tidy", "timber", "tinsel", "tissue", "title", "today", "token", "tomato", "tongue", "topple",
    "torch", "total", "toucan", "towel", "track", "trade", "trail", "trash", "travel", "treaty", "trend",
    "tribe", "triple", "trophy", "trout", "trunk", "truth", "tuba", "tulip", "tundra", "turkey", "turnip",
    "turret", "turtle", "tutor", "tweed", "twelve", "twenty", "twig", "twist", "tycoon", "uncle", "under",
    "unfold", "unique", "unit", "unveil", "upbeat", "update", "uplift", "upper", "urban", "useful", "usual",
    "vacuum", "value", "vanish", "vase", "vault", "vector", "velour", "venue", "verse", "vessel", "video",
    "view", "vinyl", "viper", "virtue", "visor", "vista", "visual", "vital", "vivid", "voice", "volume",
    "vortex", "voyage", "wafer", "waffle", "wagon", "waist", "waiter", "walk", "walnut", "walrus", "warmth",
    "weave", "whale", "wheat", "wheel", "white", "wicker", "wide", "width", "wigwam", "wild", "winter",
    "wisdom", "woman", "wombat", "wonder", "worker", "world", "yacht", "yard", "yellow", "yoga", "yogurt",
    "young", "zebra", "zenith", "zephyr", "zigzag", "zipper", "zodiac",
];

/// How many bits a word stands for.
pub(super) const BITS: u32 = 10;

/// The word that four letters or more of its beginning name, in any case.
pub(super) fn find(text: &str) -> Option<usize> {
    let begins = |word: &&str| word.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text));
    // A word of four letters is found first, although no other could begin with it.
    if text.len() < 4 { None } else { WORDS.iter().position(begins) }
}

/// The words that the first ten-bit groups of `bytes` name.
pub(super) fn from_bits(bytes: &[u8; 5]) -> [usize; 4] {
    let mut value = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mut words = [0; 4];
    for word in words.iter_mut().rev() {
        *word = usize::try_from(value & ((1 << BITS) - 1)).unwrap_or(0);
        value >>= BITS;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_four_letters_are_enough() {
        for pair in WORDS.windows(2) {
            assert!(pair[0][..4] < pair[1][..4], "{} and {}", pair[0], pair[1]);
        }
        for (at, word) in WORDS.iter().enumerate() {
            assert!((4..=7).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
            assert_eq!(find(word), Some(at));
            assert_eq!(find(&word[..4].to_uppercase()), Some(at));
        }
        assert_eq!(find("aco"), None);
        assert_eq!(find(&format!("{}x", WORDS[0])), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn no_word_turns_into_another_by_one_slip() {
        let slip = |a: &str, b: &str| {
            let differ = a.bytes().zip(b.bytes()).filter(|(a, b)| a != b).count();
            a.len() == b.len() && differ == 1
        };
        for (at, a) in WORDS.iter().enumerate() {
            assert!(WORDS[at + 1..].iter().all(|b| !slip(a, b)), "{a} is too near another word");
        }
    }

    #[test]
    fn forty_bits_make_four_words() {
        assert_eq!(from_bits(&[0, 0, 0, 0, 1]), [0, 0, 0, 1]);
        assert_eq!(from_bits(&[0xff, 0xc0, 0, 0, 0]), [1023, 0, 0, 0]);
        assert_eq!(from_bits(&[0xff; 5]), [1023; 4]);
    }
}
