"""Memory of the host between updates.

An update frees hundreds of megabytes that the next one asks for again. By default glibc gives what
lies on top of its heap back to the system, and touching it anew costs a page fault for every 4 KiB:
7 to 12 percent of the time of a decoder's update where this was measured.
"""

import ctypes
import logging

logger = logging.getLogger(__name__)

# Numbers of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# The largest that glibc takes; larger blocks are still mapped and given back one by one.
LARGEST_HEAP_BLOCK = 32 * 2**20
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the process keep freed memory for its next update, up to its peak; for all its threads.

    Returns:
        Whether it does: False without glibc, where nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    done = all([mallopt(M_TRIM_THRESHOLD, NEVER), mallopt(M_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK)])
    if not done:
        logger.info("freed memory goes back to the system after each update")
    return done
