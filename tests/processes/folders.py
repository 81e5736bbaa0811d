"""Folders that the tests of one file share. pytest itself removes only those of single tests."""

import shutil

import pytest


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory, request):
    """Makes a folder of the given name. It is removed after the file, unless a test of the file failed."""
    made, failed = [], request.session.testsfailed

    def make(name):
        made.append(tmp_path_factory.mktemp(name))
        return made[-1]

    yield make
    if request.session.testsfailed == failed:
        for folder in made:
            shutil.rmtree(folder)
