use super::*;

fn key(number: u64, length: usize) -> Vec<u8> {
    let mut key = number.to_le_bytes().to_vec();
    key.resize(length.max(8), 7);
    key
}

#[test]
fn neither_bound_is_exceeded_whatever_comes() {
    for (entries, bytes, length) in [
        (16, 1 << 16, 8),
        (16, 1 << 24, 8),
        (1_000, 1 << 20, 60),
        (65_536, 1 << 17, 300),
        (10_000, 1 << 16, 4_096),
        (100, (1 << 20) + 13, 8),
        (1, 1 << 16, 8),
    ] {
        let store = Store::new(Bounds { entries, bytes });
        for number in 0..20_000 {
            store.insert(&key(number, length), Some(1));
            if number % 97 == 0 || number > 19_900 {
                assert!(store.len() <= entries, "{entries}, {bytes}, {length}: {} entries", store.len());
                assert!(store.bytes() <= bytes as u64, "{entries}, {bytes}, {length}: {} bytes", store.bytes());
            }
        }
        if entries > 1 {
            assert!(store.len() > 2, "{entries}, {bytes}, {length}: {}", store.len());
        }
    }
}

#[test]
fn a_store_holds_most_of_what_it_has_room_for() {
    let store = Store::new(Bounds { entries: 10_000, bytes: 1 << 24 });
    (0..9_000).for_each(|number| store.insert(&key(number, 8), None));
    let found = (0..9_000).filter(|&number| store.get(&key(number, 8)).is_some()).count();
    assert!(found > 8_500, "{found}");
}

#[test]
fn what_is_asked_for_again_outlives_a_scan() {
    let store = Store::new(Bounds { entries: 1_000, bytes: 1 << 24 });
    for number in 0..200 {
        store.insert(&key(number, 8), Some(number as usize));
    }
    let mut missed = 0;
    for number in 0..100_000 {
        store.insert(&key(1_000_000 + number, 8), None);
        let hot = number % 200;
        match store.get(&key(hot, 8)) {
            Some(answer) => assert_eq!(answer, Some(hot as usize)),
            None => {
                missed += 1;
                store.insert(&key(hot, 8), Some(hot as usize));
            }
        }
    }
    assert!(missed < 2_000, "{missed} of 100,000 lookups of what is hot missed");
}

#[test]
fn no_rule_is_an_answer_and_other_keys_have_none() {
    let store = Store::new(Bounds { entries: 100, bytes: 1 << 20 });
    store.insert(b"none", None);
    store.insert(b"seven", Some(7));
    store.insert(b"beyond", Some(usize::MAX));
    let found = ["none", "seven", "beyond", "seve"].map(|key| store.get(key.as_bytes()));
    assert_eq!(found, [Some(None), Some(Some(7)), None, None]);
}

#[test]
fn what_an_entry_is_charged_covers_what_it_takes() {
    for (entries, length) in [(65_536, 100), (20_000, 700), (65_536, 120)] {
        let bytes = 1 << 24;
        let store = Store::new(Bounds { entries, bytes });
        (0..200_000).for_each(|number| store.insert(&key(number, length), None));
        let keys = store.len() * (length + 16); // an allocation has a head
        let takes = store.entries.memory_used().total() + keys;
        assert!(takes <= bytes, "{entries}, {length}: {takes} of {bytes}");
    }
}
