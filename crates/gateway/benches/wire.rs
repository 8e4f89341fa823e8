//! The WebSocket wire format without sockets: frames to texts and back. `cargo bench -p towpath-gateway`

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use towpath_gateway::Frame;
use towpath_gateway::measuring::{Receiver, encode};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// As long as a note's message.
const NOTE_BYTES: usize = 550;

/// A client's text frame of so many letters.
fn masked(letters: usize) -> Vec<u8> {
    let length = u64::try_from(letters).expect("a length");
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![0x81];
    match u16::try_from(letters) {
        Ok(medium) => {
            bytes.push(0x80 | 126);
            bytes.extend(medium.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(mask.iter().cycle().take(letters).map(|mask| b'a' ^ mask));
    bytes
}

/// Reading, unmasking, checking that it is UTF-8.
mod decode {
    use super::*;

    /// One read of a socket, with so many frames in it.
    fn read(bencher: Bencher<'_, '_>, bytes: &[u8], frames: usize) {
        let mut receiver = Receiver::new(1 << 20);
        bencher.counter(BytesCount::of_slice(bytes)).counter(ItemsCount::new(frames)).bench_local(|| {
            let mut heard = 0;
            receiver
                .receive(black_box(bytes), |text| heard += usize::from(!black_box(text).is_empty()))
                .expect("texts");
            assert_eq!(heard, frames);
        });
    }

    #[divan::bench]
    fn note(bencher: Bencher<'_, '_>) {
        read(bencher, &masked(NOTE_BYTES), 1);
    }

    #[divan::bench]
    fn sixty_four_notes(bencher: Bencher<'_, '_>) {
        read(bencher, &masked(NOTE_BYTES).repeat(64), 64);
    }

    #[divan::bench]
    fn contacts_of_70_kb(bencher: Bencher<'_, '_>) {
        read(bencher, &masked(70_000), 1);
    }
}

/// Into a buffer that has room.
mod encode {
    use super::*;

    fn write(bencher: Bencher<'_, '_>, frames: &[Frame<'_>]) {
        let bytes: usize = frames.iter().map(Frame::payload_len).sum();
        let mut out = Vec::with_capacity(2 * bytes);
        bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(frames.len())).bench_local(|| {
            out.clear();
            frames.iter().for_each(|frame| encode(black_box(frame), &mut out));
            out.len()
        });
    }

    /// A subscription's head and the bytes that all subscribers share.
    fn event() -> Frame<'static> {
        Frame::Event { head: br#"["EVENT","feed","#, json: &[b'a'; NOTE_BYTES], origin: None }
    }

    #[divan::bench]
    fn answer(bencher: Bencher<'_, '_>) {
        write(bencher, &[Frame::Text(&format!(r#"["OK","{}",true,""]"#, "a1".repeat(32)))]);
    }

    #[divan::bench]
    fn note(bencher: Bencher<'_, '_>) {
        write(bencher, &[event()]);
    }

    #[divan::bench]
    fn sixty_four_notes(bencher: Bencher<'_, '_>) {
        write(bencher, &std::iter::repeat_with(event).take(64).collect::<Vec<_>>());
    }
}
