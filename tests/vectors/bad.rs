//! Every way to be bad.

use backstay::format::VolumeRecord;

use super::{Case, volumes};
use crate::forge::{CHUNK, DEK, Object, Piece, frame, header, pieces, plaintext, record};

type Volume = (Vec<u8>, VolumeRecord);

/// Three chunks: 1024, 1024 and 77 bytes.
fn three() -> (Vec<u8>, Object) {
    let text = plaintext(2 * CHUNK + 77);
    let object = Object::seal(&header(0), &text);
    (text, object)
}

/// Bytes that were changed after sealing, under a manifest that describes the changed bytes:
/// so that what is inside is judged, and not only its size and hash.
pub(crate) fn admitted(bytes: Vec<u8>, of: &Object) -> Vec<Volume> {
    let described = record(&bytes, 0, of.record(0).chunks, of.plain);
    vec![(bytes, described)]
}

/// Offsets at which a part begins or ends.
fn boundaries(object: &Object) -> Vec<usize> {
    let mut at = vec![0, 8, 108, object.head.len()];
    for part in object.chunks.iter().chain([&object.index]) {
        at.push(at[at.len() - 1] + part.len());
    }
    at
}

pub(crate) fn cases() -> Vec<Case> {
    [cuts(), moves(), flips(), versions(), belongings(), lies(), super::frames::cases()].concat()
}

fn cuts() -> Vec<Case> {
    let (_, object) = three();
    let whole = object.bytes();
    let mut cases: Vec<Case> = Vec::new();
    let mut at = boundaries(&object);
    at.extend([100, 139, 141, 200, whole.len() - 23, whole.len() - 1]);
    at.sort_unstable();
    at.dedup();
    for at in at.into_iter().filter(|&at| at < whole.len()) {
        let cut = whole[..at].to_vec();
        cases.push(Case::new(
            format!("cut-at-{at:04}"),
            "truncated; the manifest agrees",
            admitted(cut, &object),
        ));
    }
    let cut = whole[..whole.len() - 1].to_vec();
    cases.push(Case::new("cut-unadmitted", "truncated", vec![(cut, object.record(0))]));
    // The last chunk, its entry and all, taken away by someone who cannot seal an index.
    let mut shorter = object.clone();
    shorter.chunks.pop();
    cases.push(Case::new(
        "cut-last-chunk",
        "a chunk is missing from the body",
        admitted(shorter.bytes(), &object),
    ));
    let mut longer = whole.clone();
    longer.push(0);
    cases.push(Case::new(
        "trailing-byte",
        "a byte behind the trailer",
        admitted(longer.clone(), &object),
    ));
    cases.push(Case::new(
        "trailing-unadmitted",
        "a byte behind the trailer",
        vec![(longer, object.record(0))],
    ));
    let mut inside = object.clone();
    inside.index.insert(0, 0);
    cases.push(Case::new(
        "byte-before-index",
        "a byte between body and index",
        admitted(inside.bytes(), &object),
    ));
    let end = whole.len() - 24;
    let doubled = [&whole[..end], &whole[end..], &whole[end..]].concat();
    cases.push(Case::new("two-trailers", "the trailer twice", admitted(doubled, &object)));
    cases
}

fn moves() -> Vec<Case> {
    let text = plaintext(3 * CHUNK);
    let object = Object::seal(&header(0), &text);
    let even = |chunks: Vec<Vec<u8>>| Object { chunks, ..object.clone() };
    let [first, second, third] = [0, 1, 2].map(|n| object.chunks[n].clone());
    // Frames of equal length are needed for chunks to change places under one index.
    let same: Vec<Piece> =
        (0..3u8).map(|n| Piece { frame: frame(&[n; CHUNK]), plain: 1024 }).collect();
    let level = Object::of(&header(0).encode(), &header(0).salt, DEK, &same, |n| n == 2, |_| {});
    let mut other = header(0);
    other.salt = [0x77; 32];
    let foreign = Object::of(&other.encode(), &other.salt, DEK, &same, |n| n == 2, |_| {});
    let put =
        |order: [&Vec<u8>; 3]| Object { chunks: order.map(Clone::clone).to_vec(), ..level.clone() };
    let [x, y, z] = [&level.chunks[0], &level.chunks[1], &level.chunks[2]];
    let two = volumes(&[&text[..CHUNK], &text[CHUNK..2 * CHUNK]]);
    let swapped = vec![(two[1].0.clone(), two[0].1.clone()), (two[0].0.clone(), two[1].1.clone())];
    let renamed = |mut v: Vec<Volume>| {
        for (bytes, record) in &mut v {
            *record =
                crate::forge::record(bytes, record.sequence, record.chunks, record.plain_bytes);
        }
        v
    };
    let reordered = vec![two[1].clone(), two[0].clone()];
    vec![
        Case::new(
            "chunks-swapped",
            "chunks 0 and 1 changed places",
            admitted(put([y, x, z]).bytes(), &level),
        ),
        Case::new(
            "chunks-rotated",
            "last chunk first, unequal lengths",
            admitted(even(vec![third, first.clone(), second.clone()]).bytes(), &object),
        ),
        Case::new(
            "chunk-duplicated",
            "chunk 0 in the place of chunk 1",
            admitted(put([x, x, z]).bytes(), &level),
        ),
        Case::new(
            "chunk-inserted",
            "chunk 0 twice",
            admitted(
                even(vec![first.clone(), first, second, object.chunks[2].clone()]).bytes(),
                &object,
            ),
        ),
        Case::new(
            "chunk-spliced",
            "chunk 1 of another object with the same DEK",
            admitted(put([x, &foreign.chunks[1], z]).bytes(), &level),
        ),
        Case::new(
            "index-spliced",
            "index of another object",
            admitted(Object { index: foreign.index.clone(), ..level.clone() }.bytes(), &level),
        ),
        Case::new("volumes-swapped", "objects of volumes 0 and 1 changed places", renamed(swapped)),
        Case::new("volumes-reordered", "the manifest's order is wrong", reordered),
        Case::new(
            "volume-repeated",
            "volume 0 in the place of volume 1",
            vec![two[0].clone(), two[0].clone()],
        ),
    ]
}

fn flips() -> Vec<Case> {
    let (_, object) = three();
    let bounds = boundaries(&object);
    let regions = [
        ("magic", 3),
        ("version", 8),
        ("suite", 10),
        ("compression", 11),
        ("chunk-size", 14),
        ("cluster", 20),
        ("run", 40),
        ("kind", 49),
        ("reserved", 50),
        ("sequence", 59),
        ("dek-id", 70),
        ("salt", 90),
        ("commitment", 120),
        ("chunk-0", bounds[3] + 9),
        ("chunk-1", bounds[4] + 9),
        ("chunk-1-tag", bounds[5] - 1),
        ("chunk-2", bounds[5] + 5),
        ("index", bounds[6] + 3),
        ("index-tag", bounds[7] - 1),
        ("trailer-body", bounds[7] + 7),
        ("trailer-index", bounds[7] + 11),
        ("trailer-chunks", bounds[7] + 15),
        ("trailer-magic", bounds[7] + 20),
    ];
    let flip = |at: usize| {
        let mut bytes = object.bytes();
        bytes[at] ^= 1;
        bytes
    };
    let mut cases: Vec<_> = regions
        .into_iter()
        .map(|(name, at)| Case::new(format!("flip-{name}"), "one bit", admitted(flip(at), &object)))
        .collect();
    // Nothing is read of the last byte but the magic: the hash alone would show nothing more.
    cases.push(Case::new(
        "flip-unadmitted",
        "one bit of chunk 1",
        vec![(flip(bounds[4] + 9), object.record(0))],
    ));
    cases
}

fn versions() -> Vec<Case> {
    let mut bytes = header(0).encode();
    bytes[9] = 2;
    let newer = Object::of(&bytes, &header(0).salt, DEK, &pieces(b"new"), |_| true, |_| {});
    bytes[9] = 0;
    let older = Object::of(&bytes, &header(0).salt, DEK, &pieces(b"old"), |_| true, |_| {});
    vec![
        Case::new(
            "newer-version",
            "header version 2, rightly sealed",
            admitted(newer.bytes(), &newer),
        ),
        Case::new("version-0", "header version 0, rightly sealed", admitted(older.bytes(), &older)),
    ]
}

fn belongings() -> Vec<Case> {
    let (text, object) = three();
    let mut cases = vec![Case {
        dek: [0xee; 32],
        ..Case::new("wrong-dek", "another DEK", admitted(object.bytes(), &object))
    }];
    let mut other = [header(0), header(0), header(0), header(1)];
    other[0].cluster = backstay::model::ClusterUuid::from_bytes([9; 16]);
    other[1].run = backstay::model::RunId::from_bytes([9; 16]);
    other[2].dek = backstay::model::DekId::from_bytes([9; 16]);
    for (name, header) in
        ["other-cluster", "other-run", "other-dek", "other-sequence"].iter().zip(&other)
    {
        let foreign = Object::seal(header, &text);
        cases.push(Case::new(
            *name,
            "rightly sealed for somewhere else",
            admitted(foreign.bytes(), &foreign),
        ));
    }
    let forged = Object::seal(&header(0), &vec![b'x'; text.len()]);
    let mut honest = object.record(0);
    honest.bytes = forged.bytes().len() as u64;
    cases.push(Case::new(
        "resealed-by-a-reader",
        "rightly sealed by one who knows the DEK; the manifest's hash is of other bytes",
        vec![(forged.bytes(), honest)],
    ));
    let mut claims = admitted(object.bytes(), &object);
    claims[0].1.chunks = 2;
    cases.push(Case::new("manifest-chunks", "the manifest says 2 chunks", claims));
    let mut claims = admitted(object.bytes(), &object);
    claims[0].1.plain_bytes += 1;
    cases.push(Case::new("manifest-plain", "the manifest says one byte more", claims));
    cases
}

fn lies() -> Vec<Case> {
    let text = plaintext(2 * CHUNK + 77);
    let of = |lie: &dyn Fn(&mut Vec<backstay::format::ChunkEntry>)| {
        Object::of(&header(0).encode(), &header(0).salt, DEK, &pieces(&text), |n| n == 2, lie)
    };
    let flag = |last: fn(usize) -> bool| {
        Object::of(&header(0).encode(), &header(0).salt, DEK, &pieces(&text), last, |_| {})
    };
    let cases: [(&str, &'static str, Object); 8] = [
        ("index-plain-short", "chunk 1 said to be shorter", of(&|e| e[1].plain -= 1)),
        ("index-last-long", "the last chunk said to hold 78 bytes", of(&|e| e[2].plain += 1)),
        ("index-last-empty", "the last of three chunks said to be empty", of(&|e| e[2].plain = 0)),
        (
            "index-stored-moved",
            "a byte of chunk 0 said to be chunk 1's",
            of(&|e| {
                e[0].stored -= 1;
                e[1].stored += 1;
            }),
        ),
        ("index-stored-sum", "does not add up", of(&|e| e[0].stored += 1)),
        (
            "index-stored-tiny",
            "a chunk of 16 bytes",
            of(&|e| {
                e[1].stored += e[0].stored - 16;
                e[0].stored = 16;
            }),
        ),
        ("last-flag-early", "the flag on chunk 1, too", flag(|n| n >= 1)),
        ("last-flag-missing", "no chunk has the flag", flag(|_| false)),
    ];
    let mut cases: Vec<_> = cases
        .into_iter()
        .map(|(name, why, object)| {
            let mut volumes = admitted(object.bytes(), &object);
            if name == "index-last-long" {
                volumes[0].1.plain_bytes += 1;
            }
            Case::new(name, why, volumes)
        })
        .collect();
    let short = of(&|e| {
        e.pop();
    });
    let mut volumes = admitted(short.bytes(), &short);
    volumes[0].1.chunks = 2;
    cases.push(Case::new("index-entry-missing", "two entries for three chunks", volumes));
    cases
}
