"""Image files as users have them, written by Pillow."""

import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clsgan.photos import find_images, labelled_folder, read_images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def save(path, array_or_image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(array_or_image, np.ndarray):
        array_or_image = Image.fromarray(array_or_image)
    array_or_image.save(path, **options)
    return path


def quarters(width=64, height=32):
    """Red and green above, blue and white below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def test_images_of_the_wanted_size_come_back_unchanged(tmp_path):
    colour = [save(tmp_path / f"c{i}.png", noise(16, 24, seed=i)) for i in range(3)]
    images = read_images(colour, image_size=(16, 24))
    assert images.dtype == np.uint8 and images.shape == (3, 16, 24, 3)
    assert all(np.array_equal(images[i], noise(16, 24, seed=i)) for i in range(3))
    grey = [save(tmp_path / "g.png", noise(8, 8, 1))]
    assert np.array_equal(read_images(grey, 8)[0, :, :, 0], noise(8, 8, 1))


def test_the_middle_is_cut_out_then_resized(tmp_path):
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = quarters(32, 32)
    small = read_images([save(tmp_path / "wide.png", wide)], image_size=16)[0]
    assert [tuple(small[i, j]) for i in (3, 12) for j in (3, 12)] == [RED, GREEN, BLUE, WHITE]
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    small = read_images([save(tmp_path / "tall.png", tall)], image_size=(8, 16))[0]
    assert small.shape == (8, 16, 3)
    assert [tuple(small[i, j]) for i in (1, 6) for j in (3, 12)] == [RED, BLUE, GREEN, WHITE]


def test_resizing_antialiases(tmp_path):
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = read_images([save(tmp_path / "checks.png", checks)], image_size=32)
    assert np.abs(small.astype(int) - 127).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, corners, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (32, 64) if orientation in (6, 8) else (64, 32)  # upright: width, height
    path = save(tmp_path / f"turned.{kind}", quarters(64, 32), exif=exif)
    small = read_images([path], image_size=size[::-1])[0].astype(int)
    h, w = small.shape[:2]
    found = [small[i, j] for i in (h // 4, 3 * h // 4) for j in (w // 4, 3 * w // 4)]
    assert np.abs(np.array(found) - np.array(corners)).max() < 12


def test_modes_of_pillow(tmp_path):
    rgb = Image.fromarray(quarters(16, 16))
    paths = [
        save(tmp_path / "palette.png", rgb.quantize(4)),
        save(tmp_path / "palette.gif", rgb.quantize(4)),
        save(tmp_path / "cmyk.jpg", rgb.convert("CMYK"), quality=98),
        save(tmp_path / "cmyk.tif", rgb.convert("CMYK")),
        save(tmp_path / "alpha.png", rgb.convert("RGBA")),
        save(tmp_path / "plain.bmp", rgb),
        save(tmp_path / "plain.webp", rgb, lossless=True),
        save(tmp_path / "plain.ppm", rgb),
        save(tmp_path / "ycbcr.jpg", rgb, quality=98, subsampling=0),
    ]
    images = read_images(paths, image_size=16).astype(int)
    assert images.shape == (9, 16, 16, 3)
    for image, path in zip(images, paths, strict=True):
        inner = [image[i, j] for i in (4, 12) for j in (4, 12)]
        assert np.abs(np.array(inner) - [RED, GREEN, BLUE, WHITE]).max() < 12, path.name


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    path = tmp_path / f"moving.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as opened:
        assert opened.n_frames == 2
    assert np.abs(read_images([path], 8)[0].astype(int) - RED).max() <= 4


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1)])
def test_a_strip_of_any_direction(tmp_path, shape):
    strip = save(tmp_path / "strip.png", np.full((*shape, 3), 77, np.uint8))
    assert (read_images([strip], image_size=16) == 77).all()


def test_transparent_parts_are_white(tmp_path):
    rgba = np.dstack([quarters(16, 16), np.zeros((16, 16), np.uint8)])
    rgba[:, 8:, 3] = 255
    keyed = Image.fromarray(np.repeat([[0], [1]], 8, axis=0).astype(np.uint8).repeat(16, 1), "P")
    keyed.putpalette([10, 20, 30, 0, 0, 255])
    paths = [
        save(tmp_path / "rgba.png", rgba),
        save(tmp_path / "la.png", Image.fromarray(rgba).convert("LA")),
        save(tmp_path / "keyed.png", keyed, transparency=0),
    ]
    half, grey, palette = read_images(paths, image_size=16)
    assert tuple(half[4, 4]) == WHITE and tuple(half[4, 12]) == GREEN
    assert tuple(grey[12, 4]) == WHITE and tuple(grey[4, 12]) == (150, 150, 150)
    assert tuple(palette[4, 4]) == WHITE and tuple(palette[12, 4]) == BLUE


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    paths = [save(tmp_path / f"deep.{kind}", values) for kind in ("png", "tif")]
    images = read_images(paths, image_size=16)
    assert images.shape == (2, 16, 16, 1)
    assert np.array_equal(images[0, ..., 0], np.arange(256).reshape(16, 16))
    assert np.array_equal(images[0], images[1])
    black_white = save(tmp_path / "bits.png", Image.fromarray(values > 30_000))
    assert set(np.unique(read_images([black_white], 16))) == {0, 255}
    for bad in (values.astype(np.float32), values.astype(np.int32) * 1000):
        with pytest.raises(ValueError, match=r"bad\.tif .* save it with 8 or 16 bits"):
            read_images([save(tmp_path / "bad.tif", bad)], 16)


def test_grey_if_all_files_are(tmp_path):
    grey = save(tmp_path / "grey.jpg", noise(16, 16, 1))
    deep = save(tmp_path / "deep.png", noise(16, 16, 1).astype(np.uint16))
    colour = save(tmp_path / "colour.jpg", noise(16, 16))
    assert read_images([grey, deep]).shape[3] == 1
    mixed = read_images([grey, colour])
    assert mixed.shape[3] == 3
    assert np.ptp(mixed[0].astype(int), axis=2).max() == 0  # grey in all channels
    assert read_images([grey, colour], channels=1).shape[3] == 1
    assert read_images([grey], channels=3).shape[3] == 3


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(30, 50)], 24),
        ([(40, 64), (48, 70), (90, 60)], 48),
        ([(400, 300), (640, 480)], 96),
        ([(5, 9)], 8),
    ],
)
def test_automatic_size(tmp_path, caplog, sizes, side):
    paths = [save(tmp_path / f"{i}.jpg", noise(*size)) for i, size in enumerate(sizes)]
    with caplog.at_level(logging.INFO, logger="clsgan.photos"):
        assert read_images(paths).shape == (len(sizes), side, side, 3)
    assert f"resized to {side} x {side}" in caplog.text


def test_a_long_strip_takes_no_memory(tmp_path):
    strip = save(tmp_path / "strip.png", np.full((1, 100_000, 3), 77, np.uint8))
    assert (read_images([strip], image_size=256) == 77).all()
    assert read_images([strip]).shape == (1, 8, 8, 3)


def png_of_size(path, width, height):
    """A PNG that claims this size and holds next to nothing."""

    def chunk(kind, body):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_by_name(tmp_path):
    for width in (10_000, 50_000):  # above the limit; above twice the limit, where Pillow raises
        bomb = png_of_size(tmp_path / "bomb.png", width, 10_000)
        with pytest.raises(ValueError, match=r"bomb\.png"):
            read_images([bomb])


def test_unreadable_files_are_named(tmp_path):
    good = save(tmp_path / "good.jpg", noise(32, 32))
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(good.read_bytes()[:-600])
    short = tmp_path / "short.png"
    short.write_bytes(save(tmp_path / "good.png", noise(32, 32)).read_bytes()[:200])
    text = tmp_path / "text.png"
    text.write_text("this is not an image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    script = tmp_path / "script.png"
    Image.fromarray(noise(8, 8)).save(script, format="EPS")
    for bad in (truncated, short, text, empty, script):
        with pytest.raises(ValueError, match=bad.name.replace(".", r"\.")):
            read_images([good, bad], image_size=8)
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        read_images([good, tmp_path / "gone.jpg"])
    with pytest.raises(FileNotFoundError, match="no image at"):
        read_images([tmp_path])  # a folder


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged TIFF tags
def test_any_damage_to_a_file_is_an_error_of_ours_or_harmless(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("png", "jpg", "gif", "tif", "webp", "bmp"):
        whole = save(tmp_path / f"whole.{kind}", noise(12, 12)).read_bytes()
        for i in range(25):
            damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for at in rng.integers(0, len(damaged), 4):
                damaged[at] = rng.integers(0, 256)
            path = tmp_path / f"damaged{i}.{kind}"
            path.write_bytes(damaged)
            try:
                images = read_images([path], image_size=8)
            except ValueError as error:
                assert path.name in str(error)
            else:
                assert images.shape[:3] == (1, 8, 8)


def test_skipping_says_what_and_why(tmp_path):
    paths = [save(tmp_path / f"{i}.png", noise(8, 8, seed=i)) for i in range(4)]
    paths[1].write_bytes(paths[1].read_bytes()[:80])  # the header is whole, the pixels are not
    paths[2].unlink()
    images, kept, skipped = read_images(paths, image_size=8, on_error="skip")
    assert kept.tolist() == [0, 3]
    assert np.array_equal(images, [noise(8, 8, seed=0), noise(8, 8, seed=3)])
    assert [path for path, _ in skipped] == paths[1:3]
    assert "cannot be read" in skipped[0][1] and "no image at" in skipped[1][1]
    with pytest.raises(ValueError, match=r"none of 2 files can be read; the first: .*1\.png"):
        read_images(paths[1:3], on_error="skip")


def test_invalid_options_say_what_is_valid(tmp_path):
    path = save(tmp_path / "a.png", noise(8, 8))
    for size in (0, -8, 8.5, "big", (8, 8, 8), (8, 0)):
        with pytest.raises(ValueError, match=r"image_size=.* give 'auto'"):
            read_images([path], image_size=size)
    with pytest.raises(ValueError, match="channels=2 is not valid"):
        read_images([path], channels=2)
    with pytest.raises(ValueError, match="did you mean 'skip'"):
        read_images([path], on_error="skipp")
    with pytest.raises(ValueError, match="paths is empty"):
        read_images([])
    with pytest.raises(ValueError, match="a sequence of paths is expected"):
        read_images(str(path))


def test_find_images_is_sorted_and_passes_over_what_is_no_image(tmp_path):
    for name in ("b.JPG", "a/z.png", "a/c.jpeg", ".hidden.png", ".cache/x.png", "a.png"):
        save(tmp_path / name, noise(4, 4), format="PNG")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in find_images(str(tmp_path))]
    assert found == ["a/c.jpeg", "a/z.png", "a.png", "b.JPG"]


def test_labelled_folder(tmp_path):
    for name in ("dog/2.png", "dog/1.png", "cat/x/3.png", ".trash/4.png"):
        save(tmp_path / name, noise(4, 4))
    paths, labels = labelled_folder(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        *("cat/x/3.png", "dog/1.png", "dog/2.png")
    ]
    assert labels.tolist() == ["cat", "dog", "dog"]


def test_folders_that_cannot_serve_say_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no image in"):
        find_images(tmp_path)
    file = save(tmp_path / "flat/1.png", noise(4, 4))
    with pytest.raises(NotADirectoryError, match=r"1\.png is a file"):
        find_images(file)
    with pytest.raises(ValueError, match="flat has no sub-folders"):
        labelled_folder(tmp_path / "flat")
    (tmp_path / "flat/empty").mkdir()
    with pytest.raises(ValueError, match=r"1 images lie beside the class sub-folders .*1\.png"):
        labelled_folder(tmp_path / "flat")
    file.unlink()
    with pytest.raises(ValueError, match=r"no image in the class sub-folders \['empty'\]"):
        labelled_folder(tmp_path / "flat")
