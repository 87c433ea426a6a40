// Import the cells and the tissue that wsipsm found into the open image.
// All images at once: Run > Run for project, in the menu of this editor.

import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO

def folder = new File(buildFilePath(PROJECT_BASE_DIR))
def name = getProjectEntry().getOriginalImageName()
def manifest = GsonTools.getInstance().fromJson(new File(folder, 'manifest.json').getText('UTF-8'), Map)
def expected = manifest.images[name]
if (expected == null)
    throw new IllegalStateException(name + ': not in manifest.json; was the image renamed?')

// QuPath leaves out what it cannot read inside a zip without a word, so count first
def read = { kind ->
    def found = PathIO.readObjects(new File(folder, expected[kind].file))
    int count = expected[kind].count as int
    if (found.size() != count)
        throw new IllegalStateException(name + ': ' + found.size() + ' of ' + count + ' ' + kind + ' could be read; export them again')
    return found
}
def cells = read('detections')
def tissue = read('tissue')

// what an earlier run brought is replaced; all other annotations stay
clearDetections()
def ids = tissue.collect { it.getID() } as Set
removeObjects(getAnnotationObjects().findAll { it.getID() in ids }, true)
addObjects(tissue)
addObjects(cells)
resolveHierarchy()
println name + ': ' + cells.size() + ' cells, ' + tissue.size() + ' pieces of tissue'
