#!/usr/bin/env python3
"""Write the character and TLD tables of the tokenizers.

usage: generate_tables.py [--check] [UNICODE_DIRECTORY]

Reads UnicodeData.txt and CaseFolding.txt (Debian: package unicode-data, in
/usr/share/unicode) and tlds.txt beside this script; writes ../token_tables.h
and ../token_tlds.h.  With --check it writes nothing, and fails where a file
in the tree differs from what it would write.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = 128					# code points a block; the first one is ASCII
PLANES = 0x110000

# Bits of a character's class; token_char.h gives them the same values.
ALPHA, DIGIT, SPECIAL, FOLDS, MARK, NO_DOMAIN, SPACE, LATIN = (
    1 << i for i in range(8))

# Bits of an ASCII character's part in a URL; likewise.
PATH, PATH_END, QUERY, QUERY_END, BEFORE_URL, ASCII_LABEL = (
    1 << i for i in range(6))


def span(*ranges):
    """The set of code points in ranges written as 'a-b' or 'a', in hex."""
    out = set()
    for r in ranges:
        first, _, last = r.partition('-')
        out.update(range(int(first, 16), int(last or first, 16) + 1))
    return out


# The sets below are facts of twitter-text 3.1 (https://github.com/twitter/
# twitter-text): what a hashtag may hold besides letters, marks and digits;
# what separates words; what no domain name holds; which letters count as
# accented Latin ones.
HASHTAG_SPECIAL = span('5f', 'b7', '5be', '5f3-5f4', 'f0b-f0c', '200c-200d',
                       '3003', '301c', '309b-309c', '30a0', '30fb', 'a67e',
                       'ff5e')
SPACES = span('9-d', '20', '85', 'a0', '1680', '180e', '2000-200a',
              '2028-2029', '202f', '205f', '3000')
DIRECTIONAL = span('61c', '200e-200f', '202a-202e', '2066-2069')
INVALID = span('fffe', 'feff', 'ffff')
CONTROLS = span('0-1f', '7f')
PUNCTUATION = set(map(ord, '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'))
LATIN_ACCENTS = span('c0-d6', 'd8-f6', 'f8-ff', '100-24f', '253-254',
                     '256-257', '259', '25b', '263', '268', '26f', '272',
                     '289', '28b', '2bb', '300-36f', '1e00-1eff')
ALNUM = ('abcdefghijklmnopqrstuvwxyz' 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
         '0123456789')
URL_SETS = (
    (PATH, ALNUM + "!*';:=+,.$/%#[]-_~@|&"),
    (PATH_END, ALNUM + '+-=_#/'),
    (QUERY, ALNUM + "!?*'@();:&=+$/%#[]-_.,~|"),
    (QUERY_END, ALNUM + '-_&=#/'),
    (BEFORE_URL, ''.join(c for c in map(chr, range(128))
                         if c not in ALNUM + '@$#')),
    (ASCII_LABEL, ALNUM + '-'),
)


def read_categories(directory):
    """General category of every assigned code point."""
    category = {}
    first = None
    with open(os.path.join(directory, 'UnicodeData.txt'),
              encoding='ascii') as f:
        for line in f:
            code, name, cat = line.split(';')[:3]
            code = int(code, 16)
            if name.endswith(', First>'):
                first = code
            elif name.endswith(', Last>'):
                category.update((c, cat) for c in range(first, code + 1))
            else:
                category[code] = cat
    return category


def read_folding(directory):
    """Simple case folding (statuses C and S), and the Unicode version."""
    folding = {}
    with open(os.path.join(directory, 'CaseFolding.txt'),
              encoding='utf-8') as f:
        version = re.match(r'# CaseFolding-([0-9.]+)\.txt',
                           f.readline()).group(1)
        for line in f:
            fields = line.partition('#')[0].split(';')
            if len(fields) > 2 and fields[1].strip() in 'CS':
                folding[int(fields[0], 16)] = int(fields[2], 16)
    return folding, version


def classes(category, folding):
    table = bytearray(PLANES)
    for code, cat in category.items():
        if cat[0] in 'LM':
            table[code] |= ALPHA
        if cat[0] == 'M':
            table[code] |= MARK
        if cat == 'Nd':
            table[code] |= DIGIT
    for bit, members in ((SPECIAL, HASHTAG_SPECIAL), (FOLDS, folding),
                         (SPACE, SPACES), (LATIN, LATIN_ACCENTS),
                         (NO_DOMAIN, SPACES | DIRECTIONAL | INVALID |
                          CONTROLS | PUNCTUATION)):
        for code in members:
            table[code] |= bit
    return table


def two_stages(values):
    """Split a table in blocks and keep each distinct block once."""
    index, blocks, seen = [], [], {}
    for i in range(0, len(values), BLOCK):
        block = tuple(values[i:i + BLOCK])
        if block not in seen:
            seen[block] = len(seen)
            blocks.extend(block)
        index.append(seen[block])
    assert len(seen) <= 256
    return index, blocks


def fold_tables(folding):
    """Two stages that lead to a difference; equal differences share one."""
    deltas = [0] + sorted({to - code for code, to in folding.items()})
    assert len(deltas) <= 256
    size = (max(folding) // BLOCK + 1) * BLOCK
    number = {delta: i for i, delta in reversed(list(enumerate(deltas)))}
    values = [number[folding.get(c, c) - c] for c in range(size)]
    return two_stages(values) + (deltas, size)


def c_array(ctype, name, values):
    out = ['const %s %s[%d] = {' % (ctype, name, len(values))]
    line = ''
    for v in values:
        item = '%d,' % v
        if len(line) + len(item) > 74:
            out.append('\t' + line.rstrip())
            line = ''
        line += item + ' '
    out.append('\t' + line.rstrip().rstrip(','))
    out.append('};\n')
    return '\n'.join(out)


def banner(name, what, source):
    return '\n'.join((
        '/*' + '-' * 73, ' *', ' * ' + name, ' *\t\t' + what, ' *',
        ' * Generated by src/unicode/generate_tables.py from ' + source,
        ' * Do not edit.', ' *', ' *' + '-' * 73, ' */\n'))


def tables_header(category, folding, version):
    for code, to in folding.items():
        before, after = len(chr(code).encode()), len(chr(to).encode())
        assert 2 * after <= 3 * before, 'SC_TOKEN_FOLD_MAX is too small'
        assert to not in folding, 'folding twice differs from folding once'
    index, blocks = two_stages(classes(category, folding))
    assert index[0] == 0
    fold_index, fold_blocks, deltas, size = fold_tables(folding)
    url = [sum(bit for bit, members in URL_SETS if chr(c) in members)
           for c in range(128)]
    return '\n'.join((
        banner('token_tables.h', 'Character classes and simple case folding.',
               'Unicode %s.' % version),
        c_array('uint8', 'sc_token_class_index', index),
        c_array('uint8', 'sc_token_class_blocks', blocks),
        c_array('uint8', 'sc_token_fold_index', fold_index),
        c_array('uint8', 'sc_token_fold_blocks', fold_blocks),
        c_array('int32', 'sc_token_fold_deltas', deltas),
        'const uint32 sc_token_fold_limit = 0x%X;\n' % size,
        c_array('uint8', 'sc_token_ascii_url', url)))


def tlds_header(category, folding):
    with open(os.path.join(HERE, 'tlds.txt'), encoding='utf-8') as f:
        names = {line.strip() for line in f
                 if line.strip() and not line.startswith('//')}
    for name in names:
        assert all(category[ord(c)][0] in 'LM' for c in name), name
    folded = sorted(''.join(chr(folding.get(ord(c), ord(c))) for c in name)
                    .encode() for name in names)
    offsets, blob = [0], []
    for name in folded:
        offsets.append(offsets[-1] + len(name))
        blob.append('\t"%s"' % ''.join(
            chr(b) if b < 128 else '\\%03o' % b for b in name))
    return '\n'.join((
        banner('token_tlds.h', 'Top-level domains, folded and sorted by bytes.',
               'src/unicode/tlds.txt.'),
        '#define SC_TLD_COUNT %d' % len(folded),
        '#define SC_TLD_MAX_BYTES %d\n' % max(map(len, folded)),
        'static const char tld_names[] =',
        '\n'.join(blob) + ';\n',
        'static ' + c_array('uint16', 'tld_offsets', offsets)))


def main():
    args = sys.argv[1:]
    check = '--check' in args
    args = [a for a in args if a != '--check']
    directory = args[0] if args else '/usr/share/unicode'
    category = read_categories(directory)
    folding, version = read_folding(directory)
    for name, text in (
            ('token_tables.h', tables_header(category, folding, version)),
            ('token_tlds.h', tlds_header(category, folding))):
        path = os.path.join(HERE, os.pardir, name)
        if not check:
            with open(path, 'w', encoding='ascii', newline='\n') as f:
                f.write(text)
        else:
            with open(path, encoding='ascii', newline='\n') as f:
                if f.read() != text:
                    sys.exit('%s is not what %s would write' %
                             (os.path.normpath(path), sys.argv[0]))


if __name__ == '__main__':
    main()
