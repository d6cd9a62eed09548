//! What the judge must refuse, what it must accept, and that nothing makes it stumble.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::passphrase::words::{Language, MIN_WORDS, WORDS, generate};

/// Random bytes that are the same in every run.
fn random(seed: u64) -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut state = seed;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed >> 56) as u8;
        }
        Ok(())
    }
}

#[test]
fn what_everybody_tries_is_refused() {
    for text in [
        "",
        " ",
        "password",
        "Password123!",
        "p@ssw0rd",
        "P@$$w0rd2024",
        "qwerty123",
        "1qaz2wsx3edc",
        "letmein",
        "admin",
        "123456789012345",
        "111111111111111111",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "abcdefghijklmnopqrstuvwxyz",
        "abcabcabcabcabcabc",
        "passwordpasswordpassword",
        "drowssap",
        "iloveyou2",
        "1-2-3-4-5-6-7-8-9",
        "a b c d e f g h i j k l m n o",
        "31.12.1985",
        "19851231",
        "natasha1985",
        "Наташа1985",
        "пароль",
        "пароль123",
        "ПАРОЛЬ123",
        "Пароль2024!",
        "gfhjkm123",
        "gfhjkm",
        "Zghjcnj",
        "ghbdtn",
        "йцукен",
        "йцукенгшщзхъ",
        "фывапролдж",
        "минск2017",
        "mbycr2017",
        "жывебеларусь",
        "Жыве Беларусь!",
        "zhyvebelarus",
        "slavaukraini",
        "СлаваУкраїні",
        "ckfdferhf]ys",
        "привет привет привет",
        "любимаямоя",
        "солнышко2010",
        "sunflower1990",
        "+375291234567",
        "correct horse battery staple",
        "Correcthorsebatterystaple1",
        "мамамылараму",
        "mama myla ramu",
        "умом россию не понять",
        "Реве та стогне Дніпр широкий",
        "a hto tam idze",
        "philharmonic",
        "Philharmonic1991",
        "филармония",
        "здравоохранение",
        "незалежність",
        "незалежнасць",
        "яблоко груша",
        "apple river stone",
        "qwertyuiopasdfghjklzxcvbnm",
        "1q2w3e4r5t",
        "zaq12wsx",
        "monkeydragon",
        "Tr0ub4dor&3",
        "the cat sat on the mat",
        "с новым годом!",
        "ясамаялучшая",
        "Моя кошка любит сметану и рыбу",
        "Я родился в Гомеле в 1985 году",
        "I was born in Minsk in 1985",
    ] {
        let judged = judge(text);
        assert!(!judged.is_enough(), "{text}: {judged:?}");
        assert!(!judged.reasons().is_empty(), "{text}");
    }
}

#[test]
fn what_was_made_by_chance_is_accepted() {
    for text in [
        "xK9#mQ2$vL7!",
        "vq8Zr2Lw0nXt5K",
        "ъжщ4фкэ9ыхюмгц",
        "wkqzjhxvmnqpgtdfkyrc",
        "8402759163084627",
        "дом river жираф stone ваза",
        "plume jazz bundle toboggan turret tinsel",
    ] {
        let judged = judge(text);
        assert!(judged.is_enough(), "{text}: {judged:?}");
    }
}

#[test]
fn reasons_say_what_is_wrong() {
    for (text, reason) in [
        ("abc", Reason::TooShort),
        ("x7Kq!mP", Reason::TooShort),
        ("password", Reason::CommonPassword),
        ("Наташа", Reason::CommonPassword),
        ("мама мыла раму", Reason::CommonPassword),
        ("philharmonic", Reason::OneWord),
        ("жираф1", Reason::OneWord),
        ("apple river stone", Reason::FewWords),
        ("Моя кошка любит сметану и рыбу", Reason::Sentence),
        ("yak12345678", Reason::Sequence),
        ("xkxkxkxkxkxkxkxkxk", Reason::Repeated),
        ("yak31.12.1985", Reason::Date),
        ("минск2017", Reason::Date),
        ("zxcvbnm,./", Reason::KeyboardWalk),
        ("gfhjkm123", Reason::LayoutSwap),
        ("Zghjcnj", Reason::LayoutSwap),
        ("сфееду", Reason::LayoutSwap),
        ("p@ssw0rd", Reason::Substitution),
    ] {
        let judged = judge(text);
        assert!(judged.reasons().contains(&reason), "{text}: {judged:?}");
    }
    assert!(!judge("пароль123").reasons().contains(&Reason::LayoutSwap));
    assert!(!judge("password").reasons().contains(&Reason::Substitution));
}

#[test]
fn a_generated_passphrase_is_worth_its_words_and_no_more() {
    for language in Language::ALL {
        let mut random = random(language as u64);
        for _ in 0..60 {
            let text = generate(language, WORDS, &mut random).unwrap();
            let judged = judge(&text);
            assert!(judged.is_enough() && judged.bits() <= 66.01, "{}: {judged:?}", *text);
            // Without its spaces short words may be taken for fewer long ones, but never for more.
            let joined = judge(&text.replace(' ', ""));
            assert!(joined.bits() > 40.0 && joined.bits() <= 66.01, "{}: {joined:?}", *text);
        }
    }
}

#[test]
fn five_words_are_enough_and_four_are_not() {
    for language in Language::ALL {
        let mut random = random(77 + language as u64);
        let mut enough = 0;
        for _ in 0..50 {
            let five = generate(language, MIN_WORDS, &mut random).unwrap();
            enough += usize::from(judge(&five).is_enough());
            let (four, _) = five.rsplit_once(' ').unwrap();
            assert!(!judge(four).is_enough(), "{four}");
        }
        // Now and then chance picks two notorious words among five.
        assert!(enough >= 45, "{language:?}: {enough}");
    }
}

#[test]
fn random_letters_are_worth_nearly_what_they_are() {
    for alphabet in ["abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмнопрстуфхцчшщъыьэюя"]
    {
        let letters: Vec<char> = alphabet.chars().collect();
        let mut random = random(5);
        let (mut all, mut bytes) = (0.0, [0_u8; 16]);
        for _ in 0..100 {
            random(&mut bytes).unwrap();
            let text: String = bytes.iter().map(|byte| letters[usize::from(*byte) % letters.len()]).collect();
            all += judge(&text).bits();
        }
        let (worth, real) = (all / 100.0, 16.0 * (letters.len() as f64).log2());
        assert!(worth > real * 0.75 && worth < real * 1.05, "{alphabet}: {worth} of {real}");
    }
}

#[test]
fn the_same_in_another_guise_is_hardly_stronger() {
    let base = judge("пароль").bits();
    for guise in ["ПАРОЛЬ", "Пароль", "gfhjkm", "GFHJKM", "parol", "пар\u{43e}ль"] {
        let bits = judge(guise).bits();
        assert!(bits >= base && bits < base + 4.0, "{guise}: {bits}");
    }
    for (one, other) in [
        ("журавльи\u{306}", "журавльй"),
        ("утёнок", "утенок"),
        (" журавль ", "журавль"),
        ("ЖУРАВЛЬ", "Журавль"),
    ] {
        assert_eq!(judge(one).bits(), judge(other).bits(), "{one}");
    }
    // A saying stays one without its spaces.
    for saying in ["to be or not to be that is the question", "я помню чудное мгновенье"]
    {
        assert!(judge(saying).bits() < 15.0 && judge(&saying.replace(' ', "")).bits() < 15.0, "{saying}");
    }
}

#[test]
fn a_very_long_text_is_judged_by_its_beginning() {
    let text = "xk".repeat(5000);
    assert!(!judge(&text).is_enough());
    let mut bytes = [0_u8; 4000];
    random(9)(&mut bytes).unwrap();
    let text: String = bytes.iter().map(|byte| char::from(b'!' + byte % 94)).collect();
    assert!(judge(&text).is_enough());
    assert_eq!(judge(&text).bits(), judge(&text[..MOST_JUDGED]).bits());
}

proptest! {
    #[test]
    fn no_text_makes_it_stumble(text in any::<String>()) {
        let judged = judge(&text);
        prop_assert!(judged.bits().is_finite() && judged.bits() >= 0.0);
        prop_assert!(judged.is_enough() || !judged.reasons().is_empty());
        for (at, reason) in judged.reasons().iter().enumerate() {
            prop_assert!(!judged.reasons()[..at].contains(reason), "{:?}", judged);
        }
    }

    #[test]
    fn no_text_of_the_signs_of_patterns_makes_it_stumble(text in "[a-e0-9А-Яа-яіўїєё@$!. \\-/]{0,80}") {
        let judged = judge(&text);
        prop_assert!(judged.bits().is_finite() && judged.bits() >= 0.0);
        prop_assert!(judged.is_enough() || !judged.reasons().is_empty());
    }

    /// It never promises more than the cost of trying every letter.
    #[test]
    fn nothing_is_worth_more_than_its_letters(text in "[a-z]{0,40}") {
        prop_assert!(judge(&text).bits() <= 4.71 * text.len() as f64 + 0.01);
    }
}
