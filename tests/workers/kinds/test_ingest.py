"""Reading data sets: the same content is the same data set, and a wrong file costs no other."""

import hashlib
import io
import lzma
import re
import tarfile
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from attribution_contracts.datasets import DatasetIndex
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from storage.ledger import jobs
from storage.registry import datasets
from storage.tables import DEFAULT_TENANT
from tests.workers.pictures import png
from tests.workers.sources import entered, flowers, folder, ingested, npz, pixels, tarred, zipped
from workers.datasets import archives
from workers.jobs.procedure import run_jobs


def index_of(context, version):
    return DatasetIndex.model_validate_json(context.store.get(version.sha256))


def refusals(version):
    assert version.state == "ready", version.error
    assert version.report.refused == len(version.report.refusals)
    return {file.name: file.reason for file in version.report.refusals}


def limited(context, **values):
    return replace(context, settings=context.settings.model_copy(update=values))


def linked(name, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "0/000000.png"
    return member


class TestContent:
    def test_images_lie_in_the_pack_by_class_and_name(self, context):
        files = flowers()
        version = ingested(context, zipped(dict(reversed(files.items()))))
        index = index_of(context, version)
        assert version.state == "ready"
        assert (version.report.images, version.report.labels, version.report.counts) == (6, ["0", "1"], [3, 3])
        assert (index.names, index.labels, index.classes) == (list(files), ["0", "1"], [0, 0, 0, 1, 1, 1])
        assert context.store.get(index.pack) == b"".join(files.values())
        assert index.sizes == [len(content) for content in files.values()]
        assert index.offsets == [sum(index.sizes[:position]) for position in range(6)]
        assert index.digests == [hashlib.sha256(content).hexdigest() for content in files.values()]
        job = jobs.find(context.engine, DEFAULT_TENANT, version.check_job)
        assert (job.status, job.kind) == (JobStatus.SUCCEEDED, "ingest")

    def test_the_same_content_is_the_same_data_set(self, context, tmp_path):
        files = flowers()
        context = limited(context, dataset_locations=(f"file://{tmp_path}",))
        archive = zipped(files, zipfile.ZIP_STORED)
        cut = [context.store.put(piece) for piece in (archive[:500], archive[500:501], archive[501:])]
        images = np.stack([pixels(seed) for seed in range(6)])
        sources = {
            "zip": zipped(files),
            "order": zipped(dict(reversed(files.items()))),
            "nested": zipped({f"flowers/{name}": content for name, content in files.items()}),
            "clutter": zipped({**files, "__MACOSX/0/._a.png": b"x", ".DS_Store": b"x", "0/.hidden": b"x"}),
            "tar": tarred(files),
            "dotted": tarred({f"./{name}": content for name, content in files.items()}),
            "gz": tarred(files, "w:gz"),
            "xz": tarred(files, "w:xz"),
            "streams": lzma.compress(tarred(files)[:700]) + lzma.compress(tarred(files)[700:]),
            "bz2": tarred(files, "w:bz2"),
            "npz": npz(images, np.array([0, 0, 0, 1, 1, 1])),
            "text": npz(images, np.array(list("000111"))),
            "pieces": {"pieces": cut},
            "folder": {"location": f"file://{folder(files, tmp_path / 'flowers')}"},
        }
        digests = {name: ingested(context, source, name).sha256 for name, source in sources.items()}
        assert None not in digests.values()
        assert len(set(digests.values())) == 1, digests

    def test_other_content_is_another_data_set(self, context):
        files = flowers()
        moved = {("1/x.png" if name == "0/000000.png" else name): content for name, content in files.items()}
        found = [ingested(context, zipped(given), f"n{i}").sha256 for i, given in enumerate((files, moved, flowers(2)))]
        assert len(set(found)) == 3

    def test_a_table_names_the_classes(self, context):
        files = flowers()
        lines = ["file,label,remark", *(f'"all/{i}.png",{"rose" if i % 2 else "daisy"},x' for i in range(6))]
        table = ("\ufeff" + "\r\n".join(lines)).encode()
        flat = {f"all/{i}.png": content for i, content in enumerate(files.values())}
        version = ingested(context, zipped({**flat, "labels.csv": table}))
        assert (version.report.labels, version.report.counts, version.report.refused) == (["daisy", "rose"], [3, 3], 0)
        nested = zipped({f"top/{name}": content for name, content in {**flat, "labels.csv": table}.items()})
        assert ingested(context, nested, "nested").sha256 == version.sha256

    def test_labels_give_the_order(self, context):
        files = {name.replace("0/", "rose/").replace("1/", "daisy/"): content for name, content in flowers().items()}
        version = ingested(context, zipped(files), labels=("tulip", "rose", "daisy"))
        assert (version.report.labels, version.report.counts) == (["tulip", "rose", "daisy"], [0, 3, 3])
        numbered = ingested(context, zipped(flowers()), "numbered", labels=("rose", "daisy"))
        assert (numbered.report.labels, numbered.report.counts) == (["rose", "daisy"], [3, 3])

    def test_numbers_are_sorted_as_numbers(self, context):
        version = ingested(context, zipped({f"{n}/a.png": png(pixels(n)) for n in (10, 9, 2)}))
        assert version.report.labels == ["2", "9", "10"]

    def test_so_are_those_with_signs_and_fractions(self, context):
        labels = ["10", "-5", "1.5", "-1", "007"]
        table = "file,label\n" + "".join(f"{n}.png,{label}\n" for n, label in enumerate(labels))
        files = {f"{n}.png": png(pixels(n)) for n in range(5)} | {"labels.csv": table.encode()}
        assert ingested(context, zipped(files)).report.labels == ["-5", "-1", "1.5", "007", "10"]

    def test_numbers_that_have_another_order_as_text(self, context):
        report = ingested(context, zipped({f"{n}/a.png": png(pixels(n)) for n in range(12)})).report
        [warning] = report.warnings
        assert "the 12 labels are numbers and listed by value" in warning
        assert "has them as 0, 1, 10, 11...: a task with a model that has no such labels says" in warning
        assert report.order == "value"

    def test_numbers_of_given_labels_that_have_another_order_as_text(self, context):
        files = zipped({f"{n}/a.png": png(pixels(n)) for n in range(12)})
        report = ingested(context, files, labels=tuple("abcdefghijkl")).report
        assert "the 12 folders that are numbers stand for positions among the labels" in report.warnings[0]
        assert report.order == "given"
        in_order = ingested(context, files, "as-text", labels=tuple(sorted(map(str, range(12))))).report
        assert (in_order.warnings, in_order.order) == ([], "given")

    @pytest.mark.parametrize("folders", [("rose", "daisy"), ("9", "1"), ("09", "10")])
    def test_no_warning_without_two_orders(self, context, folders):
        files = {f"{folder}/{n}.png": png(pixels(n)) for n, folder in enumerate(folders)}
        assert ingested(context, zipped(files)).report.warnings == []

    def test_labels_of_arrays_are_kept_as_they_are(self, context):
        labels = ["c/d", "c/e", "..", ".x", "plain", "/"]
        images = np.stack([pixels(n) for n in range(6)])
        report = ingested(context, npz(images, np.array(labels))).report
        assert (report.labels, report.counts, report.refused) == (sorted(labels), [1] * 6, 0)

    def test_grey_arrays_are_images(self, context):
        for name, shape in (("plain", (2, 8, 9)), ("channel", (2, 8, 9, 1)), ("alpha", (2, 8, 9, 4))):
            images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            assert ingested(context, npz(images, np.array([0, 1])), name).report.images == 2


class TestWrongFiles:
    def test_each_is_named_and_the_others_stay(self, context):
        files, whole = flowers(), png(pixels(99))
        wrong = {
            "../escape.png": whole,
            "0/../../up.png": whole,
            "/etc/absolute.png": whole,
            "C:/drive.png": whole,
            "0/truncated.png": whole[: len(whole) // 2],
            "0/notes.txt": b"no image",
            "0/empty.png": b"",
            "top.png": whole,
            f"{'x' * 201}/long.png": png(pixels(98)),
            f"0/{'y' * 600}.png": whole,
        }
        version = ingested(context, zipped({**files, **wrong}))
        found = refusals(version)
        assert version.sha256 == ingested(context, zipped(files), "good").sha256
        expected = {
            "../escape.png": "'..'",
            "0/../../up.png": "'..'",
            "/etc/absolute.png": "absolute",
            "C:/drive.png": "absolute",
            "0/truncated.png": "truncated or broken",
            "0/notes.txt": "not an image",
            "0/empty.png": "empty",
            "top.png": "no folder",
            f"{'x' * 201}/long.png": "201 characters",
            f"0/{'y' * 498}...": "characters, at most",
        }
        assert found.keys() == expected.keys()
        for name, said in expected.items():
            assert said in found[name], name

    def test_links_and_odd_names_in_a_tar(self, context):
        members = (linked("0/soft.png"), linked("0/hard.png", tarfile.LNKTYPE), linked("0/pipe", tarfile.FIFOTYPE))
        odd = {b"0/\xff.png".decode(errors="surrogateescape"): b"x", "0/back\\slash.png": b"x", "0/line\n.png": b"x"}
        found = refusals(ingested(context, tarred({**flowers(), **odd}, members=members)))
        assert {name for name, reason in found.items() if "link, device" in reason} == {
            "0/soft.png",
            "0/hard.png",
            "0/pipe",
        }
        assert {name for name, reason in found.items() if "backslash" in reason} == {
            "0/\\udcff.png",
            "0/back\\\\slash.png",
            "0/line\\n.png",
        }

    def test_links_and_passwords_in_a_zip(self, context):
        target = io.BytesIO(zipped(flowers()))
        with zipfile.ZipFile(target, "a") as archive:
            link = zipfile.ZipInfo("0/link.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "0/000000.png")
        content = bytearray(target.getvalue())
        # The flag of the second entry in the directory and before its data: encrypted.
        for signature, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            content[content.index(signature, content.index(signature) + 1) + at] |= 1
        found = refusals(ingested(context, bytes(content)))
        assert "link" in found["0/link.png"]
        assert "encrypted" in found["0/000001.png"]

    def test_a_damaged_entry_of_a_zip(self, context):
        content = bytearray(zipped(flowers(), zipfile.ZIP_STORED))
        content[content.index(b"IDAT") + 10] ^= 255
        [(name, reason)] = refusals(ingested(context, bytes(content))).items()
        assert name == "0/000000.png"
        assert "cannot be read" in reason

    def test_files_that_are_too_large(self, context):
        context = limited(context, max_dataset_file_bytes=2_000)
        assert (
            "50,000 bytes, at most 2,000"
            in refusals(ingested(context, zipped({**flowers(), "0/b": bytes(50_000)})))["0/b"]
        )
        found = refusals(ingested(context, tarred({**flowers(), "0/b": bytes(50_000)}), "tar"))
        assert "50,000 bytes, at most 2,000" in found["0/b"]

    def test_the_same_bytes_twice(self, context):
        files = flowers()
        copies = {"0/zz.png": files["0/000001.png"], "1/other.png": files["0/000002.png"]}
        version = ingested(context, zipped({**copies, **files}))
        assert (version.report.duplicates, version.report.counts) == (1, [2, 3])
        assert refusals(version) == {
            "0/000002.png": "1/other.png, of another class, has the same bytes",
            "1/other.png": "0/000002.png, of another class, has the same bytes",
        }
        assert index_of(context, version).names[:2] == ["0/000000.png", "0/000001.png"]

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_the_same_name_twice(self, context):
        target = io.BytesIO(zipped(flowers()))
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr("0/000000.png", png(pixels(50)))
        assert "same name" in refusals(ingested(context, target.getvalue()))["0/000000.png"]

    def test_a_folder_that_is_no_class(self, context):
        found = refusals(ingested(context, zipped({**flowers(), "x/a.png": png(pixels(50))}), labels=("0", "1")))
        assert found == {"x/a.png": "its class 'x' is none of the 2 labels '0', '1'"}

    def test_lines_of_a_table(self, context):
        files = {f"{i}.png": png(pixels(i)) for i in range(4)}
        table = b"file,label\n0.png,a\n1.png,b\nmissing.png,a\n,a\n2.png,a\n2.png,b\n0.png,a\n"
        found = refusals(ingested(context, zipped({**files, "labels.csv": table})))
        assert found == {
            "missing.png": "labels.csv lists it in line 4, but it is not there",
            "labels.csv, line 5": "expected a file and a label, given '' and 'a'",
            "2.png": "labels.csv gives it two classes, 'a' in line 6 and 'b' in line 7",
            "3.png": "labels.csv does not list it",
        }

    def test_a_class_of_a_table_that_is_none(self, context):
        files = {f"{i}.png": png(pixels(i)) for i in range(3)}
        table = b"file,label\n0.png,0\n1.png,1\n2.png,rose\n"
        found = refusals(ingested(context, zipped({**files, "labels.csv": table}), labels=("0", "1")))
        assert found == {"2.png": "its class 'rose' (labels.csv, line 4) is none of the 2 labels '0', '1'"}

    def test_many_are_counted_and_some_are_named(self, context):
        version = ingested(context, zipped({**flowers(), **{f"0/{n}.txt": b"x" for n in range(1100)}}))
        assert (version.report.refused, len(version.report.refusals), version.report.images) == (1100, 1000, 6)


BOMB = {f"0/{n}": bytes(1_000_000) for n in range(30)}


def flipped(archive, at=None, member=None):
    """An archive with a byte changed, somewhere or in the header of a member of a tar."""
    changed = bytearray(archive)
    if member is not None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            at = opened.getmembers()[member].offset
    changed[at] ^= 1
    return bytes(changed)


def cut(archive):
    """A tar that ends where a member ends."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return archive[: opened.getmembers()[4].offset]


class TestRefusedSources:
    @pytest.mark.parametrize(
        ("source", "said"),
        [
            (b"", "no zip, tar"),
            (b"GIF89a no archive at all" * 100, "no zip, tar"),
            (zipped(flowers())[:-40], "no zip, tar"),
            (tarred(flowers(), "w:gz")[:-2000], "is broken"),
            (tarred(flowers(), "w:xz")[:-2000], "is broken"),
            (flipped(tarred(flowers()), member=3), "the header of a file cannot be read: bad checksum"),
            (flipped(tarred(flowers(), "w:gz"), at=-8), "is broken"),
            (cut(tarred(flowers())), "the header of a file cannot be read: empty header"),
            (zipped({}), "no usable image"),
            (zipped({"0/a.txt": b"text"}), r"refused: 1 \(0/a.txt: the 4 bytes are not an image"),
            (zipped({**flowers(), "labels.csv": b"name;class\n"}), "expected file,label"),
            (zipped({**flowers(), "labels.csv": b"file,label\n\xff,a\n"}), "labels.csv, line 2: byte 0xff is no UTF-8"),
            (npz(np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, int)), r"shape \[2, 3, 8, 8\]"),
            (npz(np.zeros((2, 8, 8)), np.zeros(2, int)), "images is float64"),
            (npz(np.zeros((2, 8, 8), np.uint8), np.zeros(3, int)), "2 images and 3 labels"),
            (npz(np.zeros((2, 8, 8), np.uint8), np.zeros(2)), "labels is float64"),
            (npz(np.zeros((2, 8, 8), np.uint8), np.array([{}, {}])), "labels is object"),
            (npz(np.zeros((2, 8, 8), np.uint8), np.array(["a", ""])), "the label of image 1 is empty"),
            (zipped({"x_train.npy": b"", "y_train.npy": b""}), "the arrays x_train.npy, y_train.npy: expected images"),
        ],
    )
    def test_the_reason_is_told(self, context, source, said):
        version = ingested(context, source)
        assert (version.state, version.sha256) == ("refused", None)
        assert version.error.code == ErrorCode.INVALID_DATASET
        assert re.search(said, version.error.detail), version.error.detail

    @pytest.mark.parametrize("pack", [zipped, tarred, lambda files: tarred(files, "w:gz"), lambda f: tarred(f, "w:xz")])
    def test_a_bomb(self, context, pack):
        version = ingested(limited(context, max_dataset_bytes=5_000_000, max_dataset_files=1000), pack(BOMB))
        assert "more than 5,000,000 bytes after decompression" in version.error.detail

    def test_a_bomb_in_files_that_are_passed_over(self, context):
        small = limited(context, max_dataset_bytes=5_000_000, max_dataset_file_bytes=1000, max_dataset_files=100)
        assert "after decompression" in ingested(small, tarred(BOMB, "w:gz")).error.detail

    def test_a_bomb_of_arrays(self, context):
        source = npz(np.zeros((1000, 100, 100), np.uint8), np.zeros(1000, int))
        assert "after decompression" in ingested(limited(context, max_dataset_bytes=5_000_000), source).error.detail

    def test_a_header_that_wants_memory(self, context):
        header = tarfile.TarInfo("pax")
        header.type, header.size = tarfile.XHDTYPE, 3_000_000
        source = header.tobuf(tarfile.USTAR_FORMAT) + bytes(3_001_344)
        assert "announces" in ingested(context, source).error.detail

    def test_a_dictionary_that_wants_memory(self, context, monkeypatch):
        monkeypatch.setattr(archives, "XZ_MEMORY", 1_000_000)
        assert "Memory usage limit" in ingested(context, tarred(flowers(), "w:xz")).error.detail

    @pytest.mark.parametrize(
        "pack", [zipped, tarred, lambda files: npz(np.zeros((6, 8, 8), np.uint8), np.zeros(6, int))]
    )
    def test_too_many(self, context, pack):
        version = ingested(limited(context, max_dataset_files=5), pack(flowers()))
        assert "more than 5 entries" in version.error.detail

    def test_a_file_that_is_gone(self, context):
        assert "send it again" in ingested(context, {"sha256": "0" * 64}).error.detail
        assert "send it again" in ingested(context, {"pieces": ["0" * 64]}, "pieces").error.detail


class TestLocations:
    def test_an_archive(self, context, tmp_path):
        (tmp_path / "flowers.tar").write_bytes(tarred(flowers()))
        context = limited(context, dataset_locations=(f"file://{tmp_path}",))
        assert ingested(context, {"location": f"file://{tmp_path}/flowers.tar"}).report.images == 6

    def test_links_are_not_followed(self, context, tmp_path):
        root = folder(flowers(), tmp_path / "flowers")
        folder({"a.png": png(pixels(50))}, tmp_path / "outside")
        (root / "0" / "link.png").symlink_to(tmp_path / "outside" / "a.png")
        (root / "2").symlink_to(tmp_path / "outside")
        context = limited(context, dataset_locations=(f"file://{tmp_path}",))
        found = refusals(ingested(context, {"location": f"file://{root}"}))
        assert found.keys() == {"0/link.png", "2"}

    def test_only_what_the_operator_allows(self, context, tmp_path):
        root = folder(flowers(), tmp_path / "allowed" / "flowers")
        folder(flowers(), tmp_path / "allowed-not")
        (tmp_path / "allowed" / "out").symlink_to(tmp_path / "allowed-not")
        assert "allows no location" in ingested(context, {"location": f"file://{root}"}).error.detail
        context = limited(context, dataset_locations=(f"file://{tmp_path}/allowed/",))
        for name, said in (
            ("allowed-not", "may not be read"),
            ("allowed/out", "leads out"),
            ("allowed/none", "nothing"),
        ):
            version = ingested(context, {"location": f"file://{tmp_path}/{name}"}, name.replace("/", "."))
            assert said in version.error.detail
        assert ingested(context, {"location": f"file://{root}"}, "right").state == "ready"


@pytest.mark.parametrize("pack", [tarred, lambda files: zipped(files, zipfile.ZIP_STORED)])
def test_memory_holds_a_few_files_and_not_all(context, pack):
    source = pack({f"{seed % 2}/{seed}.png": png(pixels(seed, 600)) for seed in range(40)})
    given, size = {"sha256": context.store.put(source)}, len(source)
    del source
    tracemalloc.start()
    try:
        version = ingested(context, given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert version.report.images == 40
    assert size > 40_000_000
    assert peak < size / 2


def test_a_cancelled_ingestion_refuses_the_version(context):
    taken = entered(context, {"sha256": context.store.put(zipped(flowers()))})
    jobs.cancel(context.engine, DEFAULT_TENANT, taken.job_id)
    run_jobs(context, [taken])
    version = datasets.find_dataset(context.engine, DEFAULT_TENANT, "flowers")
    assert jobs.find(context.engine, DEFAULT_TENANT, taken.job_id).status == JobStatus.CANCELLED
    assert (version.state, version.error.code) == ("refused", ErrorCode.INVALID_DATASET)


def test_nothing_is_left_behind(context):
    ingested(context, zipped(flowers()))
    ingested(context, b"no archive", "refused")
    left = [path.name for path in context.settings.resolved_data_dir.iterdir()]
    assert not [name for name in left if name.startswith("ingest-")]
