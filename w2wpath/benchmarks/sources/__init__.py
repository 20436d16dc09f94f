"""Public image sets, read from local folders in whichever form they were downloaded.

``source`` is what every reader returns; ``mnist``, ``letters`` and ``cifar10`` are the readers. Beneath them ``layout``
finds the files, ``stored`` reads one whole, ``idx``, ``npz``, ``batches`` and ``sprites`` know a format each, and
``checks`` looks at arrays. Nothing is downloaded, and no file is trusted: what is not as it should be is a ConfigError.
"""
