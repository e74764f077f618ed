//! What a secret looks like where every byte of it was changed.

use base64::{Engine as _, engine::general_purpose};

/// As it is and reversed, in hexadecimal and in base64.
pub(super) fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        secret.to_vec(),
        secret.iter().rev().copied().collect(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
    ];
    forms.extend((0..3).flat_map(|before| base64(secret, before)));
    forms
}

/// The secret in base64, of either alphabet, behind so many bytes of something else: whole, and without the last digit,
/// of which what follows may decide a part. Of the first digits the neighbours decide, so that they are left out.
fn base64(secret: &[u8], before: usize) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let from = [0, 2, 3][before];
    let texts =
        [general_purpose::STANDARD_NO_PAD.encode(&bytes), general_purpose::URL_SAFE_NO_PAD.encode(&bytes)];
    let cut = |text: &String| {
        let ends = [text.len(), text.len() - usize::from(!bytes.len().is_multiple_of(3))];
        ends.map(|end| text.as_bytes().get(from..end).unwrap_or_default().to_vec())
    };
    texts.iter().flat_map(cut).collect()
}
