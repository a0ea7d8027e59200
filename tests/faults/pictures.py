"""Pictures that are none, are damaged, or are odd and fine all the same."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

import pellucid as pl
from pellucid import errors
from tests.faults import files
from tests.faults.files import file, named, picture
from tests.faults.row import FINE, PICTURE, SOME_FAILED, Nowhere, Refused, Row, Shown, explain, value
from tests.faults.subjects import bird, cnn, explained, photo, twin

JPEG, PNG = files.encoded("JPEG"), files.encoded("PNG")
HUGE = files.png_header(20_000, 20_000)


def refused(*words: str) -> Refused:
    return Refused(errors.ImageError, words)


def notes(word: str) -> Shown:
    return Shown(lambda story: any(word in note for note in story.notes))


def size(height: int, width: int) -> Shown:
    """A map on every pixel of the picture as it was."""
    return Shown(lambda story: story.frame.pixels.shape[:2] == story.chosen.on_frame().shape == (height, width))


def closed(_: object) -> Image.Image:
    image = photo()
    image.load()
    image.close()
    return image


FILES = [
    Row("a file that is not there", named("nowhere.jpg"), refused("nowhere.jpg", "no such file", "Check the name"),
        pl.read, PICTURE),
    Row("a file in a folder that is not there", named("holiday/cat.jpg"),
        refused("holiday/cat.jpg", "holiday', which does not exist either"), pl.read, PICTURE),
    Row("a name that is too long to be one", named("y" * 300 + ".png"), refused("yyy.png", "no such file"), pl.read,
        PICTURE),
    Row("the home of a user who is not there", value("~nobody-of-that-name/cat.jpg"),
        refused("~nobody-of-that-name/cat.jpg", "no such file"), pl.read, PICTURE),
    Row("an empty name", value(""), refused("''", "no such file"), pl.read, PICTURE),
    Row("an empty name among pictures", value(""), refused("''", "no such file"),
        lambda given: pl.explain(cnn(), [bird(), given], methods=["gradient"], budget=3),
        Nowhere("the command does the others; tests/cli shows it")),
    Row("a zero byte in the name", value("cat\0.png"), refused("cat", "no such file"), pl.read,
        Nowhere("no shell can type such a name")),
    Row("a web address", value("https://example.org/cat.jpg"),
        refused("https://example.org/cat.jpg", "nothing is downloaded", "Save it to a file"), pl.read, PICTURE),
    Row("a link to nothing", files.link("cat.png", to="gone.png"), refused("cat.png", "no such file"), pl.read,
        PICTURE),
    Row("links in a circle", files.loop, refused("one.png", "no such file"), pl.read, PICTURE),
    Row("a pipe", files.pipe, refused("pipe.png", "not a regular file", "Copy the picture"), pl.read, PICTURE),
    Row("an empty folder", files.folder_called("holiday"), refused("holiday", "holds no picture", "ending"),
        lambda folder: pl.attribute(twin(), folder, "gradient"), PICTURE),
    Row("a folder without pictures", files.folder_called("holiday", file("letter.txt", "Dear model")),
        refused("holiday", "holds no picture", "ending"), pl.read, PICTURE),
    Row("a folder called cat.jpg", files.folder_called("cat.jpg"), refused("cat.jpg", "the folder holds no picture"),
        pl.read, PICTURE),
    Row("a glob that matches nothing", named("*.jpg"), refused("*.jpg", "no file matches", "Check the folder"), pl.read,
        PICTURE),
    Row("a glob that matches only letters", lambda folder: file("letter.txt", "Dear")(folder).with_name("*"),
        refused("*", "matches 1 files, none with a picture's ending"), pl.read, PICTURE),
    Row("an empty file", file("empty.png", b""), refused("empty.png", "0 bytes", "again"), pl.read, PICTURE),
    Row("text named .jpg", file("letter.jpg", "Dear model, what do you see?"),
        refused("letter.jpg", "not a picture but a text", "Known are JPEG"), pl.read, PICTURE),
    Row("a page of HTML named .png", file("page.png", "<html><body>404</body></html>"),
        refused("page.png", "a web page", "get the picture itself"), pl.read, PICTURE),
    Row("an SVG drawing", file("logo.png", "<svg xmlns='http://www.w3.org/2000/svg'/>"),
        refused("logo.png", "SVG", "Export it as PNG"), pl.read, PICTURE),
    Row("a PDF named .jpg", file("scan.jpg", b"%PDF-1.7 ..."), refused("scan.jpg", "PDF", "Export its page"), pl.read,
        PICTURE),
    Row("a pointer that Git left", file("cat.jpg", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        refused("cat.jpg", "Git LFS", "git lfs pull"), pl.read, PICTURE),
    Row("an explanation given as picture", file("cat.json", '{"pellucid": "explanation"}'),
        refused("cat.json", "not a picture but a text"), pl.read, PICTURE),
    Row("a truncated JPEG", file("half.jpg", JPEG[: len(JPEG) // 2]), refused("half.jpg", "truncated", "again"),
        pl.read,
        PICTURE),
    Row("a truncated PNG", file("half.png", PNG[: len(PNG) // 2]), refused("half.png", "damaged or cut off"), pl.read,
        PICTURE),
    Row("a PNG of only a header", file("head.png", files.png_header(10, 10)), refused("head.png", "damaged or cut off"),
        pl.read, PICTURE),
    Row("over a hundred megapixels", file("huge.png", HUGE), refused("huge.png", "400 million pixels", "limit is 100"),
        pl.read, PICTURE),
]  # fmt: skip

PIXELS = [
    Row("bytes that are no picture", value(b"\x00\x01\x02"), refused("not a picture"), pl.read, PICTURE,
        typed=file("noise.png", b"\x00\x01\x02")),
    Row("no bytes", value(b""), refused("0 bytes"), pl.read, PICTURE, typed=file("nothing.jpg", b"")),
    Row("an array without pixels", value(np.zeros((0, 10, 3), np.uint8)), refused("no area"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("flat.png", "damaged or cut off")),
        typed=file("flat.png", files.png_header(10, 0))),
    Row("an array of one dimension", value(np.zeros(10, np.uint8)), refused("its shape is [10]", "[height width"),
        pl.read, explain("GIVEN", code=SOME_FAILED, says=("row.npy", "not a picture", "Known are")),
        typed=files.array_file("row.npy", np.zeros(10, np.uint8))),
    Row("an array of five channels", value(np.zeros((9, 9, 5), np.uint8)), refused("its shape is [9, 9, 5]"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("five.npy", "not a picture", "Known are")),
        typed=files.array_file("five.npy", np.zeros((9, 9, 5), np.uint8))),
    Row("a batch of arrays", value(np.zeros((2, 9, 9, 3), np.uint8)), refused("a batch", "one by one"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("batch.npy", "not a picture", "Known are")),
        typed=files.array_file("batch.npy", np.zeros((2, 9, 9, 3), np.uint8))),
    Row("an array that can be read two ways", value(np.zeros((3, 7, 3), np.uint8)),
        refused("[height width channel] and as [channel height width]"), pl.read,
        Nowhere("in a file of pixels it is said which axis is which")),
    Row("pixels that are NaN", value(np.full((9, 9), np.nan, np.float32)), refused("81 of its values are NaN"), pl.read,
        PICTURE, typed=picture("nan.tiff", Image.fromarray(np.full((9, 9), np.nan, np.float32)))),
    Row("a float array of 0..255", value(np.full((9, 9, 3), 200.0)), refused("outside 0..1", "Divide by 255"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("grey.npy", "not a picture", "Known are")),
        typed=files.array_file("grey.npy", np.full((9, 9, 3), 200.0))),
    Row("an array of words", value(np.array([["a", "b"]])), refused("white"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("words.npy", "not a picture", "Known are")),
        typed=files.array_file("words.npy", np.array([["a", "b"]]))),
    Row("None for a picture", value(None), refused("NoneType", "not a picture", "Give a path"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("None", "no such file"))),
    Row("a number for a picture", value(7), refused("int", "not a picture", "Give a path"), pl.read,
        explain("GIVEN", code=SOME_FAILED, says=("7", "no such file"))),
    Row("a number where several may stand", value(7), refused("int", "not a picture"),
        lambda given: pl.attribute(twin(), given, "gradient"),
        Nowhere("the command takes words: the row above")),
    Row("a list with None in it", value([None]), refused("NoneType", "not a picture"), pl.read,
        Nowhere("a list of words holds words")),
    Row("no picture in the list", value([]), Refused(errors.RequestError, ("no picture to explain",)),
        lambda given: pl.explain(twin(), given),
        Nowhere("a command without a picture is a row of its own")),
    Row("a Pillow picture that was closed", closed, refused("damaged"), pl.read, Nowhere("files are opened anew")),
    Row("a picture without area in Pillow", value(Image.new("RGB", (0, 5))), refused("no area"), pl.read,
        Nowhere("a file without area is a row of its own")),
    Row("a limit of no pixels", value(0), Refused(errors.RequestError, ("limit_megapixels is 0", "above 0")),
        lambda given: pl.read(bird(), limit_megapixels=given), Nowhere("the command keeps the usual limit")),
]  # fmt: skip

ODD = [
    Row("one pixel", picture("one.png", Image.new("RGB", (1, 1))), size(1, 1), explained, FINE),
    Row("a row of pixels", picture("thin.png", photo(600, 1)), size(1, 600), explained, FINE),
    Row("a column of pixels", picture("tall.png", photo(1, 600)), size(600, 1), explained, FINE),
    Row("odd numbers of rows and columns", picture("odd.png", photo(223, 161)), size(161, 223), explained, FINE),
    Row("one colour all over", picture("grey.png", Image.new("RGB", (40, 30), (128, 128, 128))),
        Shown(lambda story: story.chosen.finite()), explained, FINE),
    Row("a photograph held upright", picture("turned.jpg", photo(), exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00"
        b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"), size(40, 30), explained, FINE),
    Row("sixteen bits", picture("deep.png", Image.fromarray(np.full((30, 40), 32896, np.uint16))),
        Shown(lambda story: bool((story.frame.pixels == 128).all())), explained, FINE),
    Row("a float TIFF of 0..255", picture("grey.tiff", Image.fromarray(np.full((9, 9), 200, np.float32))),
        notes("0 (black) to 255 (white)"), explained, FINE),
    Row("inks", picture("print.jpg", photo().convert("CMYK")), notes("CMYK"), explained, FINE),
    Row("one bit", picture("fax.png", photo().convert("1")), size(30, 40), explained, FINE),
    Row("a palette", picture("icon.gif", photo().convert("P")), size(30, 40), explained, FINE),
    Row("a clear background", picture("cut.png", Image.new("RGBA", (40, 30), (255, 0, 0, 90))), notes("laid on white"),
        explained, FINE),
    Row("an animation", picture("dance.gif", photo(), save_all=True, append_images=[photo(40, 30).rotate(90)]),
        notes("first frame"), explained, FINE),
    Row("a name with brackets and spaces", picture("my [red]bird[bold] *.png"), size(30, 40), explained, FINE),
    Row("a name that is no ASCII", picture("Vögel 鳥 😀.png"), size(30, 40), explained, FINE),
    Row("a picture called index", picture("index.png"), size(30, 40), explained, FINE),
    Row("the same picture twice", lambda folder: [picture("twice.png")(folder)] * 2, size(30, 40),
        lambda given: explained(given)[0],
        explain("GIVEN", "GIVEN", "--methods", "gradient", "--budget", "3", code=0),
        typed=picture("twice.png")),
    Row("a tensor of pixels", value(torch.zeros(3, 30, 40)), size(30, 40), explained, FINE,
        typed=picture("black.png", Image.new("RGB", (40, 30)))),
]  # fmt: skip

PICTURES = [*FILES, *PIXELS, *ODD]
